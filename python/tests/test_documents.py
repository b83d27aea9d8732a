# SPDX-License-Identifier: MIT
"""The examples of docs/python.md run as they stand, each by itself, in a folder with the tutorial's data and run."""
import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
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

    def prepare(self):
        """data/books.train, data/books.valid, runs/mep and bloom-560m, small."""
        shutil.copytree(GOLDEN_FAMILIES / "bloom", "bloom-560m")
        Path("books.txt").write_text("".join(f"Line {i}: the quick brown fox jumps.\n" for i in range(600)))
        for command in ("prepare --out data/books --valid 0.3 books.txt",
                        f"train --data data/books.train --out runs/mep {TINY}"):
            subprocess.run([PROGRAM, *command.split()], capture_output=True, check=True)


if __name__ == "__main__":
    unittest.main()
