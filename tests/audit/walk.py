#!/usr/bin/env python3
"""Runs the part "From red to green" of docs/audit.md, and compares what is printed with what stands there.

Every command is run in a copy of tests/audit/walk. How long an audit took and how many runs it needed may differ, for
they depend on the machine; nothing else may.

Exit codes: 0 it is the same, 1 it is not, 2 wrong usage or npm failed.
"""

import argparse
import difflib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WALK = ROOT / "tests" / "audit" / "walk"
SECTION = "## From red to green"

# How long one command may take.
DEADLINE_S = 180

# What differs from machine to machine.
VARIES = [(re.compile(r"in \d+\.\d s"), "in N s"), (re.compile(r"\d+ runs"), "N runs")]

# Every report ends with it; the document shows it once.
FOOT = "what this cannot show:"


def samples(text):
    """The commands of the section that start with `unstick`, each with what it prints."""
    section = text.split(SECTION, 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    found = []
    for (kind, commands), (next_kind, printed) in zip(blocks, blocks[1:]):
        if (kind, next_kind) == ("sh", "text"):
            command = [line for line in commands.splitlines() if line.startswith("unstick ")][-1]
            found.append((command, printed))
    return found


def comparable(text):
    """The lines of a report without its foot and without what varies."""
    text = text.split(FOOT)[0].strip()
    for pattern, instead in VARIES:
        text = pattern.sub(instead, text)
    return text.splitlines()


def prepare():
    """A copy of the applications with their packages; its folder."""
    folder = ROOT / "target" / "audit-walk"
    folder.mkdir(parents=True, exist_ok=True)
    for file in WALK.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    if not (folder / "node_modules").is_dir():
        npm = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, timeout=600, check=False)
        if npm.returncode != 0:
            sys.exit(2)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    unstick = ROOT / "target" / "debug" / "unstick"
    parser.add_argument("--unstick", type=Path, default=unstick, metavar="FILE", help="the program (%(default)s)")
    arguments = parser.parse_args()
    if not arguments.unstick.is_file():
        parser.error(f"{arguments.unstick} is not there; build it, or say where it is")
    found = samples((ROOT / "docs" / "audit.md").read_text())
    if not found:
        parser.error(f"docs/audit.md has no samples in the part {SECTION!r}")
    folder, failed = prepare(), 0
    for command, printed in found:
        words = [os.fspath(arguments.unstick.resolve()), *shlex.split(command)[1:]]
        run = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        expected, came = comparable(printed), comparable(run.stdout)
        is_same = expected == came
        print("same " if is_same else "OTHER", command, flush=True)
        if not is_same:
            failed += 1
            print("\n".join(difflib.unified_diff(expected, came, "docs/audit.md", "printed", lineterm="")))
            print(run.stderr, end="")
    print(f"{len(found) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
