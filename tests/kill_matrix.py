#!/usr/bin/env python3
"""Plants every sabotage of `unstick prove --sabotages`, and says which predictions it breaks.

    cargo build --features sabotage
    tests/kill_matrix.py [--seeds 1,2,3] [--program target/debug/unstick] [NAME ...]

Prints one line per run, then the kill matrix (sabotage x prediction) as Markdown. The exit code is 1 if a sabotage was
not caught by a prediction that its line of the list names, or a prediction is broken by no sabotage.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def run(program, sabotage, seed):
    """One run: its exit code, the names of the broken predictions, and of all."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "all.json"
        arguments = sabotage["arguments"].split() + ["--sabotage", sabotage["name"], "--seed", str(seed)]
        command = [program, "prove", *arguments, "--json", str(out)]
        environment = os.environ | {"TMPDIR": directory}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        if not out.exists() or not out.stat().st_size:
            return done.returncode, set(), set(), done.stderr
        report = json.loads(out.read_text())
    predictions = [one for cell in report["cells"] for one in cell["predictions"]] + report["slow_predictions"]
    broken = {one["what"] for one in predictions if one["verdict"] == "broken"}
    return done.returncode, broken, {one["what"] for one in predictions}, done.stdout


def is_caught(sabotage, code, broken):
    if not sabotage["breaks"]:
        return code == 3
    return code == 1 and bool(broken & set(sabotage["breaks"]))


def matrix(killed, predictions):
    """One row per prediction, with the sabotages that broke it: a table of both would have 30 columns."""
    yield "| prediction | broken by |"
    yield "|---|---|"
    for what in sorted(predictions):
        yield f"| {what} | {', '.join(name for name, broken in killed.items() if what in broken) or 'nothing'} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="target/debug/unstick")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    program = str(Path(given.program).resolve())
    listed = json.loads(subprocess.run([program, "prove", "--sabotages"], capture_output=True, check=True).stdout)
    missed, killed, predictions = [], {}, set()
    for sabotage in listed:
        if given.names and sabotage["name"] not in given.names:
            continue
        for seed in given.seeds.split(","):
            code, broken, known, text = run(program, sabotage, seed)
            caught = is_caught(sabotage, code, broken)
            predictions |= known
            killed.setdefault(sabotage["name"], set()).update(broken)
            word = "caught" if caught else "MISSED"
            print(f"{word}  {sabotage['name']} seed {seed}: exit {code}, {sorted(broken)}", flush=True)
            if not caught:
                missed.append(sabotage["name"])
                print(text, file=sys.stderr)
    print("\n".join(matrix(killed, predictions)))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
