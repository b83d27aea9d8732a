# SPDX-License-Identifier: MIT
"""The examples of docs/python.md run as they stand, each by itself, in a folder with the tutorial's data and run."""
import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import GOLDEN_FAMILIES, PROGRAM, REPOSITORY

TINY = ("--num-hidden-layers 1 --hidden-size 16 --num-attention-heads 2 --length 16 --batch-size 4 --steps 3 --dtype "
        "float32 --quiet")


@unittest.skipIf(PROGRAM is None, "MEP_PROGRAM does not name the program")
class Examples(unittest.TestCase):
    def test_run(self):
        blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "python.md").read_text(), re.S)
        self.assertEqual(len(blocks), 13)
        before = os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                self.prepare()
                for number, block in enumerate(blocks, 1):
                    if any(not importlib.util.find_spec(name) for name in re.findall(r"^import (\w+)", block, re.M)):
                        continue
                    printed = io.StringIO()
                    with contextlib.redirect_stdout(printed):
                        exec(compile(block, f"example {number} of docs/python.md", "exec"), {})
                    self.assertEqual("print(" in block, printed.getvalue() != "")
            finally:
                os.chdir(before)

    @unittest.skipIf(importlib.util.find_spec("torch") is None, "torch is not installed")
    def test_flex_attention(self):
        """examples/flex_attention.py: equal outputs, and a loss that falls."""
        example = REPOSITORY / "examples" / "flex_attention.py"
        result = subprocess.run([sys.executable, example, "--length", "64", "--heads", "2"], capture_output=True,
                                text=True, timeout=300)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(float(re.search(r"outputs: (\S+)", result.stdout)[1]) < 1e-5, result.stdout)
        first, last = (float(x) for x in re.findall(r"loss (\S+)", result.stdout))
        self.assertTrue(last < 0.5 * first, result.stdout)

    def prepare(self):
        """data/books.train, data/books.valid, runs/mep and bloom-560m, small."""
        shutil.copytree(GOLDEN_FAMILIES / "bloom", "bloom-560m")
        Path("books.txt").write_text("".join(f"Line {i}: the quick brown fox jumps.\n" for i in range(600)))
        for command in ("prepare --out data/books --valid 0.3 books.txt",
                        f"train --data data/books.train --out runs/mep {TINY}"):
            subprocess.run([PROGRAM, *command.split()], capture_output=True, check=True)


if __name__ == "__main__":
    unittest.main()
