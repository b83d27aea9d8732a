#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the three corpora of docs/study from their public sources, byte for byte: the checksum of each file is compared.

    python3 scripts/study_corpora.py FOLDER [--only books,latex,code] [--books REPOSITORY] [--latex REPOSITORY]
        [--code FILE]

Writes NAME.train.jsonl and NAME.valid.jsonl, 168 MB in all; a file that is there with the right checksum is kept. The
sources are two git repositories, by default those of GitHub (a local clone will do), and Debian's package
linux-source-6.1, version 6.1.192-2, which apt-get fetches; --code takes the .deb or its .tar.xz. Needs git and, for a
.deb, dpkg-deb.

The rules are those of docs/study/corpora.md. Documents are shuffled by a hash of their names, not by a random number
generator. This file needs Python 3.8 and nothing else.
"""
import argparse
import collections
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile

BOOKS = ("https://github.com/mlschmitt/classic-books-markdown", "944882722e9a96fa6cf2739dc2ea757e101f412f")
LATEX = ("https://github.com/stacks/stacks-project", "4ac4815d5a00dc2eacab7824cf4e4baafe2773ac")
CODE = ("linux-source-6.1", "6.1.192-2")

SHA256 = {
    "books.train": "6608377362f857c07a52d5e1d89b0f25b40a175246c4a235620be5a0f7c7f9a4",
    "books.valid": "533e2f8ef25c9552275f648e452564fc95e408664ac2fc3ac8187d0d90c2f001",
    "latex.train": "312a3858ff5c5dc7af5bfe1dc52a8ced61244e78b7828aa26d6b570053a6f301",
    "latex.valid": "29493d8df56e5e7fb87f57862bc2505bd976c763bbcb778609acfd4efcaeba54",
    "code.train": "4c9af11394871cece724d3ee0debc82c327cca145c32d92817d5370972744f5f",
    "code.valid": "2ba602cc325542f00c22c284b55b8080be1661d41b47fb1983e7a789ae763e4a",
}

# Authors whose books are validation, at most two each, and others that are not used.
VALID_AUTHORS = (
    "Agatha Christie", "E.E. Cummings", "Edgar Wallace", "Edward Bulwer-Lytton", "Elizabeth Gaskell",
    "Elizabeth Stuart Phelps", "Frank Norris", "Ivan Turgenev", "J. Sheridan LeFanu", "Marcus Aurelius",
    "Margaret Cavendish", "May Sinclair", "Montesquieu", "Okakura Kakuzo", "R.M. Ballantyne", "William Morris",
)
OTHER_AUTHORS = (
    "Algernon Blackwood", "Anonymous", "Charles Dickens", "George MacDonald", "Howard Pyle", "James Joyce", "Lewis Carroll",
    "Tacitus", "Various",
)

# Passages of these are repeated in other chapters.
REPEATED_CHAPTERS = ("spaces", "topologies.tex")

# UTF-8 that was encoded twice, where the second encoding left control characters: "â\x80\x99" is an apostrophe.
ENCODED_TWICE = re.compile("[\xc2-\xdf][\x80-\x9f]|[\xe0-\xef](?:[\x80-\x9f][\x80-\xbf]|[\xa0-\xbf][\x80-\x9f])")
CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufeff\u200b\xad]")
GENERATED = re.compile("DO NOT EDIT|auto-?generated|automatically generated|A Bison parser", re.IGNORECASE)
NUMBER = re.compile(r"\\x[0-9a-fA-F]{2}|\b0[xX][0-9a-fA-F]+[uUlL]*\b|\b\d+[uUlL]*\b")
DIGITS = re.compile(r"\b0[xX][0-9a-fA-F]+|\b\d+\b")


def key(text):
    """The place of a name in the shuffled order."""
    return hashlib.sha256(("lenext-v1:" + text).encode()).hexdigest()


def size(text):
    return len(text.encode())


def clean(text):
    r"""The text without control characters, spaces at line ends, and more than two empty lines in a row.

    >>> clean('\n\none \t\r\ntwo\x0c\n\n\n\n\u200bthree\xa0four')
    'one\ntwo\n\n\nthree four\n'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    text = CONTROLS.sub("", text).replace("\xa0", " ")
    text = re.sub("[ \t]+\n", "\n", text)
    return re.sub("\n{4,}", "\n\n\n", text).strip("\n") + "\n"


def decode_twice(text):
    r"""The text with repaired UTF-8.

    >>> decode_twice('didn\xe2\x80\x99t, \xc3\x86neas, caf\xc3\xa9')
    'didn’t, Æneas, cafÃ©'
    """
    return ENCODED_TWICE.sub(lambda found: found.group().encode("latin-1").decode(), text)


def is_number_table(text):
    r"""Whether C source is mostly numbers.

    >>> is_number_table('int x[] = {\n0x12, 0x34,\n};\n')
    True
    >>> is_number_table('int f(int x)\n{\n        return x + 1;\n}\n')
    False
    """
    lines = [NUMBER.sub("0", line) for line in text.split("\n") if line.strip()]
    only_numbers = sum(re.fullmatch(r"[\s\W\d]*", line) is not None and "0" in line for line in lines)
    return only_numbers > 0.2 * len(lines) or sum(map(len, DIGITS.findall(text))) > 0.12 * len(text)


def take(documents, limit):
    """Those of the documents that fit into `limit` bytes: one that does not is passed over."""
    total, taken = 0, []
    for name, text in documents:
        if total + size(text) <= limit:
            total += size(text)
            taken.append((name, text))
    return taken


def git(*arguments):
    return subprocess.run(("git", *arguments), check=True, stdout=subprocess.PIPE).stdout


def read_repository(repository, commit, folder):
    """Yield the path and the bytes of every file of a commit; a partial clone may lack the largest, which no corpus has."""
    if not os.path.isdir(repository):
        copy = os.path.join(folder, commit)
        git("init", "-q", copy)
        git("-C", copy, "fetch", "-q", "--depth", "1", repository, commit)
        repository = copy
    paths = git("-C", repository, "ls-tree", "-r", "--name-only", "-z", commit).decode().split("\0")[:-1]
    with subprocess.Popen(("git", "-C", repository, "cat-file", "--batch"), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        for path in paths:
            process.stdin.write(f"{commit}:{path}\n".encode())
            process.stdin.flush()
            # "HASH blob SIZE" or "COMMIT:PATH missing"
            _, kind, *length = process.stdout.readline().rsplit(maxsplit=2)
            if kind == b"blob":
                yield path, process.stdout.read(int(length[0]))
                process.stdout.read(1)
        process.stdin.close()


def make_books(source, folder):
    documents = {}
    for path, data in read_repository(source or BOOKS[0], BOOKS[1], folder):
        author, _, title = path.partition("/")
        text = data.decode().replace("\r\n", "\n")
        year = re.search(r"^#+ *Year: *(\d+)", text, re.MULTILINE)
        if not title.endswith(".md") or author in OTHER_AUTHORS or year is None or int(year.group(1)) > 1927:
            continue
        text = decode_twice(text[re.search("^-{3,}$", text, re.MULTILINE).end():])
        paragraphs = text.split("\n\n")
        documents[path] = clean("\n\n".join(
            p for p in paragraphs if not re.match(r"\W*Transcriber[’']?s[’']? Note", p, re.IGNORECASE)))
    train, valid, books = [], [], collections.Counter()
    for path in sorted(documents, key=key):
        author, text = path.split("/")[0], documents[path]
        if author not in VALID_AUTHORS:
            if 32000 <= size(text) <= 1500000:
                train.append((path, text))
        elif 100000 <= size(text) <= 700000 and books[author] < 2:
            books[author] += 1
            valid.append((path, text))
    return take(train, 60000000), valid


def make_latex(source, folder):
    documents = {path: clean(data.decode())
                 for path, data in read_repository(source or LATEX[0], LATEX[1], folder)
                 if "/" not in path and path.endswith(".tex") and path != "fdl.tex" and len(data) >= 15000}
    shuffled = [(path, documents[path]) for path in sorted(documents, key=key)]
    valid = take([(path, text) for path, text in shuffled
                  if 65536 <= size(text) <= 600000 and not path.startswith(REPEATED_CHAPTERS)], 4000000)
    held = {path for path, _ in valid}
    return [(path, text) for path, text in shuffled if path not in held], valid


def read_kernel(source, folder):
    """Yield the path and the bytes of every C file of Debian's package that has a suitable size."""
    if source is None:
        subprocess.run(("apt-get", "download", "-q", "=".join(CODE)), check=True, cwd=folder, stdout=subprocess.DEVNULL)
        source = os.path.join(folder, next(name for name in os.listdir(folder) if name.endswith(".deb")))
    if source.endswith(".deb"):
        subprocess.run(("dpkg-deb", "-x", source, folder), check=True)
        source = os.path.join(folder, "usr/src/linux-source-6.1.tar.xz")
    with tarfile.open(source) as archive:
        for entry in archive:
            if entry.isreg() and entry.name.endswith(".c") and 2048 <= entry.size <= 500000:
                yield entry.name.partition("/")[2], archive.extractfile(entry).read()


def make_code(source, folder):
    documents, units = {}, collections.defaultdict(list)
    for path, data in read_kernel(source, folder):
        try:
            text = data.decode()
        except UnicodeDecodeError:
            continue
        if not GENERATED.search(text[:3000]) and not is_number_table(text):
            documents[path] = clean(text)
    shuffled = sorted(documents, key=key)
    for path in shuffled:
        units["/".join(path.split("/")[:-1][:3])].append(path)
    train, valid = set(documents), []
    for unit, paths in units.items():
        if int(key("unit:" + unit)[:8], 16) % 12 == 0 and sum(len(documents[path]) for path in paths) < 20000000:
            train.difference_update(paths)
            valid += [path for path in paths if 40960 <= size(documents[path]) <= 400000][:6]
    valid = take([(path, documents[path]) for path in sorted(valid, key=key)], 6000000)
    valid.sort(key=lambda document: -size(document[1]))
    train = take([(path, documents[path]) for path in shuffled if path in train], 60000000)
    return [[("linux-6.1/" + path, text) for path, text in part] for part in (train, valid)]


def has_checksum(path, wanted):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest() == wanted


def write(path, documents, wanted):
    """Write the documents as JSON lines. Returns whether they have the right checksum; if not, nothing is written."""
    data = "".join(json.dumps({"text": text, "meta": {"source": name}}, ensure_ascii=False) + "\n"
                   for name, text in documents).encode()
    if hashlib.sha256(data).hexdigest() != wanted:
        return False
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)
    return True


def main():
    makers = {"books": make_books, "latex": make_latex, "code": make_code}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--only", default=",".join(makers), metavar="NAME,..", help="corpora to make [%(default)s]")
    parser.add_argument("--books", metavar="REPOSITORY", help=f"[{BOOKS[0]}]")
    parser.add_argument("--latex", metavar="REPOSITORY", help=f"[{LATEX[0]}]")
    parser.add_argument("--code", metavar="FILE", help=f"{CODE[0]}_{CODE[1]}_all.deb, or the .tar.xz in it [of apt-get]")
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)
    for name in options.only.split(","):
        if name not in makers:
            parser.error(f"there is no corpus {name}; corpora: {', '.join(makers)}")
        parts = [f"{name}.{part}" for part in ("train", "valid")]
        paths = [os.path.join(options.folder, part + ".jsonl") for part in parts]
        if all(os.path.exists(path) and has_checksum(path, SHA256[part]) for path, part in zip(paths, parts)):
            continue
        print(f"making {name}", flush=True)
        try:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                made = makers[name](getattr(options, name), folder)
        except (OSError, subprocess.CalledProcessError, tarfile.TarError, StopIteration) as error:
            sys.exit(f"study_corpora: {name}: its source cannot be read: {error}")
        for path, part, documents in zip(paths, parts, made):
            if not write(path, documents, SHA256[part]):
                sys.exit(f"study_corpora: {part} has another checksum than docs/study/corpora.md: nothing was written; "
                         "is the source of the right version?")


if __name__ == "__main__":
    main()
