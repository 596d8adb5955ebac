#!/usr/bin/env python3
"""Plants every sabotage of `unstick prove --sabotages`, and says which predictions it breaks.

    cargo build --features sabotage
    tests/kill_matrix.py [--seeds 1,2,3] [--jobs 1] [--program target/debug/unstick] [--write docs/proof.md] [NAME ...]
    tests/kill_matrix.py --whole [NAME ...]

A sabotage is planted in the smallest run that contains its subject: its arm and its event. With `--whole` it is planted
in the run that a user starts with no flag, or with `--full` if its event is only there. Each of them takes a minute or
four.

Prints one line per run, then the kill matrix (sabotage x prediction) as Markdown; `--write` puts it and the list of
sabotages where they stand in a document. The exit code is 1 if a sabotage was not caught by a prediction that its line
of the list names, or a prediction is broken by no sabotage.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


# Events and arms that no default run has room for.
FULL_ONLY = {"stop", "mute", "errors", "slow-once", "partition", "clocks", "key-rotation", "failover", "full"} | {
    "jwt+denylist", "paseto", "cookie-session", "postgres", "memcached", "redis-replicated", "redis-replicated+wait"
}


def selection(sabotage, is_whole):
    """The flags of a run that contains the subject of a sabotage."""
    if not is_whole:
        return sabotage["arguments"].split()
    if "--studies" in sabotage["arguments"]:
        return ["--studies", "all"]
    return ["--full"] if FULL_ONLY.intersection(re.split("[ ,]", sabotage["arguments"])) else []


def run(program, sabotage, seed, is_whole):
    """One run: its exit code, the names of the broken predictions, and of all."""
    # In memory, as a run without TMPDIR is.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        out = Path(directory) / "all.json"
        arguments = [*selection(sabotage, is_whole), "--sabotage", sabotage["name"], "--seed", str(seed)]
        command = [program, "prove", *arguments, "--json", str(out)]
        environment = os.environ | {"TMPDIR": directory}
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
        if not out.exists() or not out.stat().st_size:
            return done.returncode, set(), set(), done.stderr
        report = json.loads(out.read_text())
    cells = report["cells"] + [column for study in report["studies"] for column in study["columns"]]
    predictions = [one for cell in cells for one in cell["predictions"]] + report["slow_predictions"]
    broken = {one["what"] for one in predictions if one["verdict"] == "broken"}
    return done.returncode, broken, {one["what"] for one in predictions}, done.stdout


def is_caught(sabotage, code, broken):
    if not sabotage["breaks"]:
        return code == 3
    return code == 1 and bool(broken & set(sabotage["breaks"]))


def matrix(killed, predictions):
    """One row per prediction, with the sabotages that broke it: a table of both would have 70 columns."""
    yield "| prediction | broken by |"
    yield "|---|---|"
    for what in sorted(predictions):
        names = [f"`{name}`" for name, broken in killed.items() if what in broken]
        yield f"| {what} | {', '.join(names) or 'nothing'} |"


def names(listed):
    """One row per sabotage."""
    yield "| name | breaks | how |"
    yield "|---|---|---|"
    for sabotage in listed:
        yield f"| `{sabotage['name']}` | {sabotage['subject']} | {sabotage['what']} |"


def write(document, *tables):
    """Puts each table where the one with the same first line stands."""
    text = document.read_text()
    for table in tables:
        head = re.escape(table[0])
        text, count = re.subn(rf"^{head}\n(?:\|.*\n)+", lambda _: "\n".join(table) + "\n", text, flags=re.M)
        if count != 1:
            sys.exit(f"{document} has {count} tables that begin with {table[0]}")
    document.write_text(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="target/debug/unstick")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    program = str(Path(given.program).resolve())
    listed = json.loads(subprocess.run([program, "prove", "--sabotages"], capture_output=True, check=True).stdout)
    chosen = [one for one in listed if not given.names or one["name"] in given.names]
    runs = [(sabotage, seed) for sabotage in chosen for seed in given.seeds.split(",")]
    missed, killed, predictions = [], {}, set()
    with ThreadPoolExecutor(given.jobs) as pool:
        results = pool.map(lambda one: run(program, *one, given.whole), runs)
        for (sabotage, seed), (code, broken, known, text) in zip(runs, results, strict=True):
            caught = is_caught(sabotage, code, broken)
            predictions |= known
            killed.setdefault(sabotage["name"], set()).update(broken)
            word = "caught" if caught else "MISSED"
            print(f"{word}  {sabotage['name']} seed {seed}: exit {code}, {sorted(broken)}", flush=True)
            if not caught:
                missed.append(sabotage["name"])
                print(text, file=sys.stderr)
    table = list(matrix(killed, predictions))
    print("\n".join(table))
    print(f"{len(runs) - len(missed)} of {len(runs)} runs caught theirs")
    if given.write:
        write(given.write, table, list(names(listed)))
    unbroken = [] if given.names else sorted(predictions - set().union(*killed.values()))
    if unbroken:
        print(f"broken by nothing: {', '.join(unbroken)}")
    return 1 if missed or unbroken else 0


if __name__ == "__main__":
    sys.exit(main())
