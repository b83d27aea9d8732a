# SPDX-License-Identifier: MIT
"""The declarations are those of the headers; a missing or another library is refused; nothing is printed; the package
names no place of one machine."""
import importlib.util
import inspect
import os
import pickle
import re
import subprocess
import sys
import types
import unittest
from pathlib import Path
from unittest import mock

import libmep
from libmep import _library
from support import REPOSITORY

HEADERS = REPOSITORY / "include" / "mep"
STATEMENT = re.compile(r"enum \{ \w+ = \d+ \};|typedef struct \w+ \{[^}]*\} \w+;|[^;{}]+;")


def plain(text):
    """C without comments, MEP_API and line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", " ", text, flags=re.S).replace("MEP_API ", ""))


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, **environment})


class Declarations(unittest.TestCase):
    def test_are_the_headers(self):
        headers = " ".join(plain(path.read_text()) for path in sorted(HEADERS.glob("*.h")))
        statements = STATEMENT.findall(plain(_library.DECLARATIONS))
        self.assertEqual("".join(statements).replace(" ", ""), plain(_library.DECLARATIONS).replace(" ", ""))
        for statement in statements:
            self.assertIn(" " + statement.strip(), headers)
        parsed = len(_library.FUNCTIONS) + len(_library.TYPES)
        self.assertEqual(parsed + 1, len(statements), "a declaration was not understood")  # + 1: the enum

    def test_signatures(self):
        result, arguments, is_status = _library.FUNCTIONS["mep_bias_create"]
        self.assertTrue(is_status)
        self.assertEqual([a.__name__ for a in arguments], ["LP_c_void_p", "c_char_p", "c_long", "c_long"])
        self.assertEqual(_library.TYPES["mep_attention_settings"].tolerance.offset, 56)
        self.assertEqual(_library.TYPES["mep_model_config"].position_encoding.size, 8192)
        self.assertIs(_library.FUNCTIONS["mep_attention_forward"][1][1]._type_, _library.TYPES["mep_attention_call"])

    def test_numbers_are_the_headers(self):
        number = re.search(r"#define MEP_ABI_VERSION (\d+)", (HEADERS / "types.h").read_text())[1]
        self.assertEqual(_library.ABI_VERSION, int(number), "look at every declaration, then set ABI_VERSION")
        project = re.search(r"project\(mep VERSION (\d+\.\d+)", (REPOSITORY / "CMakeLists.txt").read_text())[1]
        self.assertTrue(libmep.version().startswith(project + "."))


class Types(unittest.TestCase):
    """The package has types for checkers of types (py.typed), and a text for each public name."""

    def names(self):
        """(name, object) of what users find, with the methods and properties of classes."""
        modules = [libmep]
        for name in ("torch", "transformers"):
            if importlib.util.find_spec(name):
                modules.append(importlib.import_module(f"libmep.{name}"))
        for module in modules:
            for name in module.__all__:
                value = getattr(module, name)
                yield f"{module.__name__}.{name}", value
                for key, member in vars(value).items() if isinstance(value, type) else ():
                    if not key.startswith("_"):
                        yield f"{module.__name__}.{name}.{key}", member

    def test_annotations_and_texts(self):
        count = 0
        for name, value in self.names():
            value = getattr(value, "__func__", getattr(value, "fget", value))
            if not callable(value):
                continue
            if name.rpartition(".")[2] not in ("forward", "extra_repr") or name.startswith("libmep.Attention"):
                self.assertTrue(value.__doc__, f"{name} has no text")
            function = value.__init__ if isinstance(value, type) else value
            if not isinstance(function, types.FunctionType):
                continue
            signature = inspect.signature(function)
            for parameter in signature.parameters.values():
                self.assertTrue(parameter.name in ("self", "cls") or parameter.annotation is not parameter.empty or
                                name == "libmep.Model", f"{name} has no type for {parameter.name}")
            if not isinstance(value, type):
                self.assertIsNot(signature.return_annotation, signature.empty, f"{name} has no type for its result")
            count += 1
        self.assertGreater(count, 50)

    def test_marker(self):
        self.assertTrue((Path(libmep.__file__).parent / "py.typed").is_file())


class Loading(unittest.TestCase):
    def test_another_abi_is_refused(self):
        def library(**functions):
            return types.SimpleNamespace(mep_version=mock.Mock(return_value=b"0.1.7"), **functions)
        for number in (_library.ABI_VERSION - 1, _library.ABI_VERSION + 1):
            with self.assertRaisesRegex(ImportError, rf"libmep 0.1.7 with .* \(ABI\) {number}, and .* for "
                                                     rf"{_library.ABI_VERSION}: .*LIBMEP_LIBRARY"):
                _library.check_abi(library(mep_abi_version=lambda n=number: n), "libmep.so")
        with self.assertRaisesRegex(ImportError, r"\(ABI\) none"):  # from before it had a number
            _library.check_abi(library(), "libmep.so")
        _library.check_abi(library(mep_abi_version=lambda: _library.ABI_VERSION), "libmep.so")

    def test_a_missing_library(self):
        result = run("import libmep", LIBMEP_LIBRARY="nosuch/libmep.so")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "ImportError: .*nosuch/libmep.so.*LIBMEP_LIBRARY")

    def test_a_library_that_is_another(self):
        result = run("import libmep", LIBMEP_LIBRARY="libm.so.6")
        self.assertEqual(result.returncode, 1)
        self.assertIn("ImportError: libm.so.6 is not the libmep of this package", result.stderr)

    def test_nothing_is_printed(self):
        result = run("import libmep, gc\nbias = libmep.Bias('mep', 2)\n"
                     "try: libmep.Bias('gaus', 2)\nexcept libmep.MepError: pass\ndel bias; gc.collect()")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_information(self):
        self.assertIn(libmep.cpu_level(), ("c", "avx2", "avx512", "avx512_bf16", "amx_bf16", "neon"))
        self.assertGreaterEqual(libmep.set_threads(), 1)
        self.assertIn("kerple_log", libmep.position_help())


class Errors(unittest.TestCase):
    def test_message_and_status(self):
        with self.assertRaisesRegex(libmep.MepError, 'character 7: unknown kernel "gaus"') as caught:
            libmep.Bias("exp + gaus", 4)
        self.assertEqual(caught.exception.status, "MEP_ERROR_ARGUMENT")
        self.assertEqual(type(caught.exception).__module__, "libmep")  # what tracebacks print
        again = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual((str(again), again.status), (str(caught.exception), caught.exception.status))


class House(unittest.TestCase):
    def test_no_place_of_one_machine(self):
        """python/ and the files that build it name no absolute path; every file begins with its licence."""
        files = [path for path in (REPOSITORY / "python").rglob("*.py") if "__pycache__" not in path.parts]
        self.assertGreaterEqual(len(files), 12)
        for path in files + [REPOSITORY / "pyproject.toml", REPOSITORY / "docs" / "python.md"]:
            text = path.read_text()
            for number, line in enumerate(text.splitlines(), 1):
                self.assertIsNone(re.search(r"(?<![\w.$}])/(work|tmp|home|root|usr|opt|mnt)\b", line),
                                  f"{path}:{number}: a place of one machine")
                self.assertLessEqual(len(line), 140 if path.suffix == ".md" else 120, f"{path}:{number}")
            if path.suffix == ".py":
                self.assertTrue(text.startswith("# SPDX-License-Identifier: MIT\n"), path)


if __name__ == "__main__":
    unittest.main()
