#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the tables of README.md and docs/study/README.md from docs/study/results, or checks them.

    python3 scripts/study_tables.py [--write] [--results FOLDER] [PAGE ...]

A table that comes from results has a comment before it that names its kind and the studies, as in

    <!-- study_tables.py perplexities tier1-books -->

The kinds are the functions of KINDS. Without --write, lines that differ from the results are printed, and the exit status
is 1. This file needs Python 3.8 and nothing else.
"""
import argparse
import collections
import csv
import difflib
import math
import pathlib
import statistics
import sys

COMMENT = "<!-- study_tables.py "
ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "study" / "README.md"]
Column = collections.namedtuple("Column", "head study measure length at name digits")

# The rows of kind "summary", which are in the order of books.
SUMMARY = (
    "mep/forget/profiles", "mep_param/forget", "mep/forget/weights=query", "mep/learn=weights,slopes", "mep/forget",
    "alibi/learn=slopes", "nope/forget", "alibi", "kerple_log", "mep", "mep_param", "t5", "rotary",
)

# The tables of kind "measures": where in measures.csv of a study each column is.
MEASURES = {
    "books": [
        Column("loss at the end of 128", "tier1-books-measures", "by-position", 128, 128, "loss", 3),
        Column("of 4,096", "tier1-books-measures", "by-position", 4096, 4096, "loss", 3),
        Column("gain of context, 1,024", "tier1-books-measures", "context", 1024, 1024, "top_gain", 2),
        Column("4,096", "tier1-books-measures", "context", 4096, 4096, "top_gain", 2),
        Column("copy, gap 32", "tier1-books-measures", "copy", 128, 32, "gain", 3),
        Column("4,000", "tier1-books-measures", "copy", 4096, 4000, "gain", 3),
    ],
    "code": [
        Column("code: end of 128", "tier1-code-measures", "by-position", 128, 128, "loss", 3),
        Column("of 1,024", "tier1-code-measures", "by-position", 1024, 1024, "loss", 3),
        Column("of 4,096", "tier1-code-measures", "by-position", 4096, 4096, "loss", 3),
        Column("copy, gap 32", "tier1-code-measures", "copy", 128, 32, "gain", 2),
        Column("416", "tier1-code-measures", "copy", 512, 416, "gain", 2),
        Column("928", "tier1-code-measures", "copy", 1024, 928, "gain", 2),
        Column("4,000", "tier1-code-measures", "copy", 4096, 4000, "gain", 2),
        Column("LaTeX: end of 128", "tier1-latex-measures", "by-position", 128, 128, "loss", 3),
        Column("of 4,096", "tier1-latex-measures", "by-position", 4096, 4096, "loss", 3),
        Column("copy, gap 32", "tier1-latex-measures", "copy", 128, 32, "gain", 2),
    ],
}
# The column that orders their rows, and whether the largest is first.
ORDER = {"books": (1, False), "code": (5, True)}


def read(results, study, table):
    with open(results / study / f"{table}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def code(spec):
    return "`" + spec.replace("|", "\\|") + "`"


def signed(value, error=None, digits=4):
    """A difference in nats.

    >>> signed(-0.01234), signed(0.5, 0.01), signed(-0.00001), signed(0.1, digits=1)
    ('-0.0123', '+0.5000 ± 0.0100', '+0.0000', '+0.1')
    """
    text = f"{round(value, digits) + 0:+.{digits}f}"
    return text if error is None else f"{text} ± {error:.{digits}f}"


def values(rows, name):
    """By encoding and length, the values in column `name`, one for each seed."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in rows:
        found[row["encoding"]][int(row["length"])].append(float(row[name]))
    return found


def loss_differences(results, study):
    """By encoding and length, the difference of the loss to the baseline and its standard error; and the number of seeds.

    STUDY@SEED is one seed of a study; it has no standard errors.
    """
    study, _, seed = study.partition("@")
    found, seeds = collections.defaultdict(dict), {}
    for row in read(results, study, "differences"):
        if row["measure"] == "perplexity" and row["name"] == "loss":
            found[row["encoding"]][int(row["length"])] = (float(row["difference"]), float(row["stderr"]))
            seeds[row["encoding"]] = int(row["seeds"])
            baseline = row["baseline"]
    if not seed:
        return found, seeds, baseline
    rows = values([row for row in read(results, study, "results") if row["seed"] == seed], "perplexity")
    one = {
        encoding: {length: (math.log(row[0] / rows[baseline][length][0]), None) for length, row in columns.items()}
        for encoding, columns in rows.items()
        if encoding != baseline
    }
    return one, dict.fromkeys(one, 1), baseline


def lengths(row):
    return [f"{length:,}" for length in row]


def perplexities(results, study, *options):
    """STUDY [differences]: the mean perplexity over seeds by length, and the differences to the baseline at the ends."""
    means = {
        encoding: {length: statistics.mean(row) for length, row in columns.items()}
        for encoding, columns in values(read(results, study, "results"), "perplexity").items()
    }
    columns = sorted(next(iter(means.values())))
    ends = [columns[0], columns[-1]] if "differences" in options else []
    head = lengths(columns)
    if ends:
        differences, _, baseline = loss_differences(results, study)
        head += [f"to {code(baseline)}, {length:,}" for length in ends]
    rows = [head]
    for encoding in sorted(means, key=lambda name: means[name][columns[-1]]):
        row = [f"{means[encoding][length]:.3f}" for length in columns]
        row += [signed(*differences[encoding][length]) if encoding in differences else "" for length in ends]
        rows.append([code(encoding), *row])
    return rows


def differences(results, *arguments):
    """LENGTHS LABEL=STUDY[@SEED] ...: the differences to the baseline at LENGTHS, 128,512,..., in several studies.

    Rows are in the order of the sum of the last columns. The first and last length have standard errors where there is more
    than one seed. A column has the number of seeds, of each study where they differ, unless all have one.
    """
    columns = [int(length) for length in arguments[0].split(",")]
    parts = [(label, *loss_differences(results, study)[:2]) for label, study in (word.split("=") for word in arguments[1:])]
    encodings = [encoding for encoding in parts[0][1] if all(encoding in part[1] for part in parts)]
    alone = all(part[2][encoding] == 1 for part in parts for encoding in encodings)
    head = [] if alone else ["seeds"]
    for label, *_ in parts:
        head += [f"{label}, {columns[0]:,}", *lengths(columns[1:])]
    rows = [head]
    for encoding in sorted(encodings, key=lambda name: sum(part[1][name][columns[-1]][0] for part in parts)):
        counts = [str(part[2][encoding]) for part in parts]
        row = [] if alone else [", ".join(counts[:1] if len(set(counts)) == 1 else counts)]
        for _, found, seeds in parts:
            for length in columns:
                value, error = found[encoding][length]
                row.append(signed(value, error if seeds[encoding] > 1 and length in (columns[0], columns[-1]) else None))
        rows.append([code(encoding), *row])
    return rows


def summary(results):
    """Rows of SUMMARY: perplexities on books, and the difference to the baseline at the longest length of each corpus."""
    means = values(read(results, "tier1-books", "results"), "perplexity")
    parts = [loss_differences(results, f"tier1-{corpus}") for corpus in ("books", "latex", "code")]
    baseline = parts[0][2]
    rows = [["128", "1,024", "4,096", f"books, to {code(baseline)}", "LaTeX", "code"]]
    for encoding in sorted(SUMMARY, key=lambda name: statistics.mean(means[name][4096])):
        row = [f"{statistics.mean(means[encoding][length]):.3f}" for length in (128, 1024, 4096)]
        for digits, (found, seeds, _) in zip((4, 3, 3), parts):
            value, error = found[encoding][4096] if encoding != baseline else (None, None)
            row.append("" if value is None else signed(value, error if seeds[encoding] > 1 else None, digits))
        rows.append([code(encoding), *row])
    return rows


def exact(results, study):
    """STUDY: the fraction of right answers by length, the mean over seeds, and at the longest the values of the seeds."""
    rows = [row for row in read(results, study, "measures") if row["name"] == "exact"]
    found = values(rows, "value")
    columns = sorted(next(iter(found.values())))
    seeds = max(len(row[columns[-1]]) for row in found.values())
    table = [lengths(columns) + ([f"seeds, {columns[-1]:,}"] if seeds > 1 else [])]
    for encoding in sorted(found, key=lambda name: -statistics.mean(found[name][columns[-1]])):
        row = [f"{statistics.mean(found[encoding][length]):.3f}" for length in columns]
        if seeds > 1:
            row.append(", ".join(f"{value:.3f}" for value in found[encoding][columns[-1]]))
        table.append([code(encoding), *row])
    return table


def windows(results, seed, *arguments):
    """SEED LABEL=STUDY ...: the loss at the longest length by number of keys that each query sees."""
    parts = []
    for label, study in (word.split("=") for word in arguments):
        found = collections.defaultdict(dict)
        for row in read(results, study, "windows"):
            if row["seed"] == seed:
                found[row["encoding"]][row["window"]] = float(row["loss"])
        parts.append((label, found))
    head = []
    for label, found in parts:
        names = [{"none": "all"}.get(name, name) for name in next(iter(found.values()))]
        head += [f"{label}: {names[0]}", *names[1:]]
    rows = [head]
    for encoding in sorted(parts[0][1], key=lambda name: parts[0][1][name]["none"]):
        row = [f"{value:.3f}" for _, found in parts for value in found[encoding].values()]
        rows.append([code(encoding), *row])
    return rows


def measures(results, name):
    """NAME: a table of MEASURES, of the first seed."""
    columns = MEASURES[name]
    found = {}
    for study in {column.study for column in columns}:
        for row in read(results, study, "measures"):
            place = row["measure"], row["length"], row["at"], row["name"]
            found[(study, row["encoding"], *place)] = float(row["value"])
    table = {}
    for study, encoding, *_ in found:
        if study == columns[0].study:
            table[encoding] = [
                found[(column.study, encoding, column.measure, str(column.length), str(column.at), column.name)]
                for column in columns
            ]
    column, largest = ORDER[name]
    rows = [[column.head for column in columns]]
    for encoding in sorted(table, key=lambda key: table[key][column], reverse=largest):
        row = [f"{value:.{column.digits}f}" for value, column in zip(table[encoding], columns)]
        rows.append([code(encoding), *row])
    return rows


KINDS = {function.__name__: function for function in (perplexities, differences, summary, exact, windows, measures)}


def markdown(rows):
    head, *rest = rows
    yield "| | " + " | ".join(head) + " |"
    yield "| --- |" + " ---: |" * len(head)
    for row in rest:
        yield "| " + " | ".join(row) + " |"


def rewrite(lines, results):
    """The lines of a page with its tables from results."""
    lines = collections.deque(lines)
    while lines:
        line = lines.popleft()
        yield line
        if line.startswith(COMMENT):
            kind, *arguments = line[len(COMMENT) :].replace("-->", "").split()
            while lines and (lines[0].startswith("|") or not lines[0]):
                lines.popleft()
            yield from markdown(KINDS[kind](results, *arguments))
            yield ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("pages", nargs="*", type=pathlib.Path, default=PAGES, help="Markdown files")
    parser.add_argument("--write", action="store_true", help="write the tables instead of checking them")
    parser.add_argument("--results", type=pathlib.Path, default=PAGES[1].parent / "results", help="folder of the studies")
    options = parser.parse_args()
    tables = wrong = 0
    for page in options.pages:
        old = page.read_text(encoding="utf-8").splitlines()
        tables += sum(line.startswith(COMMENT) for line in old)
        new = list(rewrite(old, options.results))
        if options.write:
            page.write_text("\n".join(new) + "\n", encoding="utf-8")
            continue
        for change in difflib.unified_diff(old, new, str(page), "results", lineterm="", n=0):
            print(change)
        wrong += old != new
    print(f"{tables} tables" + (", wrong: write them with --write" if wrong else ""))
    return 1 if wrong or not tables else 0


if __name__ == "__main__":
    sys.exit(main())
