#!/usr/bin/env python3
"""Plants every sabotage of `unstick prove --sabotages`, and says which predictions it breaks.

    cargo build --features sabotage
    tests/kill_matrix.py [--seeds 1,2,3] [--jobs 1] [--program target/debug/unstick] [--write docs/proof.md] [NAME ...]
    tests/kill_matrix.py --part studies,arms                    # those of studies, and of arms that are not default
    tests/kill_matrix.py --whole [NAME ...]

A sabotage is planted in the smallest run that contains its subject: its arm and its event. With `--whole` it is planted
in the run that a user starts with no flag, or with `--full` if its event is only there. Each of them takes a minute or
four.

A run that takes longer than its limit is interrupted, so that it can end its processes, and counts as missed. With
`--jobs 2` two runs share the machine: enough for most, and a trial for those that measure time.

Prints one line per run, then the kill matrix (sabotage x prediction) as Markdown; `--write` puts it and the list of
sabotages where they stand in a document. The exit code is 1 if a sabotage was not caught by a prediction that its line
of the list names, with a counterexample of one to four facts, or a prediction is broken by no sabotage.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benches"))
from lib.process import Children  # noqa: E402

# Arms and events that no default run has room for, and the events that came with those arms.
FULL_ARMS = set("jwt+denylist paseto cookie-session postgres memcached redis-replicated redis-replicated+wait".split())
NEW_EVENTS = set("key-rotation failover full repeats".split())
FULL_ONLY = FULL_ARMS | NEW_EVENTS | set("stop mute errors slow-once partition clocks".split())
# Seconds that a run in the smallest selection may take, and a whole one.
RUN_MAX_S = 180
WHOLE_MAX_S = 900
# Facts of a counterexample.
FACTS_MAX = 4


def part(sabotage):
    """What its run is about: `studies`, `arms` and events of `--full`, or `sessions` in all others."""
    words = re.split("[ ,]", sabotage["arguments"])
    if "--studies" in words:
        return "studies"
    return "arms" if (FULL_ARMS | NEW_EVENTS).intersection(words) else "sessions"


def selection(sabotage, is_whole):
    """The flags of a run that contains the subject of a sabotage."""
    if not is_whole:
        return sabotage["arguments"].split()
    if "--studies" in sabotage["arguments"]:
        return ["--studies", "all"]
    return ["--full"] if FULL_ONLY.intersection(re.split("[ ,]", sabotage["arguments"])) else []


def run(children, program, sabotage, seed, is_whole):
    """One run: its exit code, the broken predictions with their counterexamples, the names of all, and what it said."""
    # In memory, as a run without TMPDIR is.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        out = Path(directory) / "all.json"
        arguments = [*selection(sabotage, is_whole), "--sabotage", sabotage["name"], "--seed", str(seed)]
        command = [program, "prove", *arguments, "--json", str(out)]
        environment = os.environ | {"TMPDIR": directory}
        limit = WHOLE_MAX_S if is_whole else RUN_MAX_S
        code, said, complaint = children.run(command, limit, env=environment)
        if not out.exists() or not out.stat().st_size:
            return code, {}, set(), complaint
        report = json.loads(out.read_text())
    cells = report["cells"] + [column for study in report["studies"] for column in study["columns"]]
    predictions = [one for cell in cells for one in cell["predictions"]] + report["slow_predictions"]
    broken = {}
    for one in predictions:
        if one["verdict"] == "broken":
            broken.setdefault(one["what"], []).append(len(one.get("counterexample", [])))
    return code, broken, {one["what"] for one in predictions}, said


def is_caught(sabotage, code, broken):
    """By a prediction of its line, which shows how; or nothing can be concluded, if its line names none."""
    if not sabotage["breaks"]:
        return code == 3
    facts = [count for what in sabotage["breaks"] for count in broken.get(what, [])]
    return code == 1 and any(facts) and max(facts) <= FACTS_MAX


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
    parser.add_argument("--part", default="sessions,arms,studies")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    program = str(Path(given.program).resolve())
    listed = json.loads(subprocess.run([program, "prove", "--sabotages"], capture_output=True, check=True).stdout)
    chosen = [one for one in listed if part(one) in given.part.split(",")]
    chosen = [one for one in chosen if not given.names or one["name"] in given.names]
    if given.write and len(chosen) < len(listed):
        parser.error("--write needs all sabotages")
    runs = [(sabotage, seed) for sabotage in chosen for seed in given.seeds.split(",")]
    missed, killed, predictions, began = [], {}, set(), time.monotonic()
    with Children() as children:
        pool = ThreadPoolExecutor(given.jobs)
        try:
            results = pool.map(lambda one: run(children, program, *one, given.whole), runs)
            for (sabotage, seed), (code, broken, known, text) in zip(runs, results, strict=True):
                caught = is_caught(sabotage, code, broken)
                predictions |= known
                killed.setdefault(sabotage["name"], set()).update(broken)
                word = "caught" if caught else "MISSED"
                shown = ", ".join(f"{what} ({max(facts)} facts)" for what, facts in sorted(broken.items()))
                print(f"{word}  {sabotage['name']} seed {seed}: exit {code}, {shown or 'nothing broken'}", flush=True)
                if not caught:
                    missed.append(sabotage["name"])
                    print(text, file=sys.stderr)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            children.interrupt_all()
            pool.shutdown()
    table = list(matrix(killed, predictions))
    print("\n".join(table))
    print(f"{len(runs) - len(missed)} of {len(runs)} runs caught theirs, in {time.monotonic() - began:.0f} s")
    if given.write:
        write(given.write, table, list(names(listed)))
    unbroken = [] if given.names or len(chosen) < len(listed) else sorted(predictions - set().union(*killed.values()))
    if unbroken:
        print(f"broken by nothing: {', '.join(unbroken)}")
    return 1 if missed or unbroken else 0


if __name__ == "__main__":
    sys.exit(main())
