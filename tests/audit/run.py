#!/usr/bin/env python3
"""Tries `unstick audit` on real applications whose dependence on a replica is known. README.md has the table.

    tests/audit/run.py --light                 the rows that install within a minute
    tests/audit/run.py --row 7 --row 9         some rows
    tests/audit/run.py --clean --seeds 20      the rows that are clean, each with that many seeds
    tests/audit/run.py --by-hand               without unstick: plays each journey in four placements, prints what came
    tests/audit/run.py --install-only          brings up target/audit-apps, which stays there between runs

For each row it starts `unstick audit journeys/row-NN.toml --spawn ... --json` and compares the verdict and the class of
the cause with the table. A row that is dependent on own disks and clean on a shared one is run with both. A witness has
at most three steps, and is played again.

Exit codes: 0 all rows agree, 1 a row does not, 2 something could not be installed or started. Needs Python 3.11 or
newer with venv, and Node 20 or newer with npm.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from lib.installs import APPS, HOME, SetupError, copy_of_database, install, install_django
from lib.journey import Run, read
from lib.replicas import Replicas
from lib.rows import CLEAN, ROWS, Expected, Row, dependent

UNSTICK = Path(__file__).resolve().parents[2] / "target" / "debug" / "unstick"
PLACES = ("AA", "AB", "BB", "BA")
STEPS_MAX = 3
VERDICTS = {"none_found": 0, "dependent": 1, "inconclusive": 3}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", type=int, action="append", metavar="N", help="only this row; may be repeated")
    parser.add_argument("--light", action="store_true", help="only rows that install within a minute")
    parser.add_argument("--clean", action="store_true", help="only what is expected to be clean")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="audits of each, seeds 1 to N (1)")
    parser.add_argument("--install-only", action="store_true", help="install what the rows need, and end")
    parser.add_argument("--by-hand", action="store_true", help="play the journeys here, without unstick")
    parser.add_argument("--times", type=int, default=3, metavar="N", help="by hand: runs of each placement (3)")
    parser.add_argument("--limit", type=int, default=900, metavar="S", help="seconds for one audit (900)")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH", help="(target/debug/unstick)")
    return parser.parse_args()


def chosen(args: argparse.Namespace) -> list[Row]:
    unknown = set(args.row or []) - {row.number for row in ROWS}
    if unknown:
        raise SetupError(f"there is no row {', '.join(map(str, sorted(unknown)))}; there are 1 to {len(ROWS)}")
    rows = [row for row in ROWS if not args.row or row.number in args.row]
    return [row for row in rows if row.group.light or not args.light]


def main() -> int:
    args = arguments()
    rows = chosen(args)
    install(list(dict.fromkeys(row.group for row in rows)))
    if any(row.needs_database for row in rows):
        install_django()
    if args.install_only:
        return 0
    if not args.by_hand and not os.access(args.unstick, os.X_OK):
        raise SetupError(f"{args.unstick} does not exist: cargo build, or --by-hand")
    tries = [(row, disk) for row in rows for disk in row.expected if row.expected[disk] == CLEAN or not args.clean]
    wrong = sum(not agrees(row, disk, seed, args) for row, disk in tries for seed in range(1, args.seeds + 1))
    print("all rows agree" if not wrong else f"{wrong} do not agree")
    return int(bool(wrong))


def agrees(row: Row, disk: str, seed: int, args: argparse.Namespace) -> bool:
    """Tries one row with one kind of disk and one seed, and prints what came."""
    started = time.monotonic()
    print(f"row {row.number}: {row.name}, {disk} disk, seed {seed} ...", flush=True)
    with copy_of_database() if row.needs_database else nullcontext() as database:
        trial = by_hand if args.by_hand else audit
        found, remarks = trial(row, row.spawn(database), disk, seed, args)
    expected = row.expected[disk]
    # By hand only the verdict is seen; causes are for the auditor to find.
    is_right = found.verdict == expected.verdict if args.by_hand else found == expected
    for line in remarks:
        print(f"    {line}")
    verdict = "as measured" if is_right else f"WRONG, {expected} was measured"
    print(f"  {found}: {verdict} ({time.monotonic() - started:.0f} s)", flush=True)
    return is_right


def audit(row: Row, spawn: str, disk: str, seed: int, args: argparse.Namespace) -> tuple[Expected, list[str]]:
    """What `unstick audit` says. Its report stays in target/audit-apps/reports."""
    command = [args.unstick.resolve(), "audit", row.journey, "--spawn", spawn, "--disk", disk, "--json"]
    # Some of them import for half a minute where others are busy.
    command += ["--start-deadline", "2m", "--seed", str(seed)]
    kept = HOME / "reports" / f"row-{row.number:02}-{disk}-{seed}.json"
    kept.parent.mkdir(exist_ok=True)
    command += ["--witness", kept.with_suffix(".witness")]
    child = subprocess.Popen(command, cwd=APPS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        report, errors = child.communicate(timeout=args.limit)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)  # so that it ends its replicas
        try:
            _, errors = child.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
            _, errors = child.communicate()
        return Expected("no verdict"), [f"ended after {args.limit} s", *errors.strip().splitlines()[-5:]]
    kept.write_text(report)
    try:
        verdict = json.loads(report)["verdict"]
        kind = verdict["kind"]
    except (ValueError, KeyError):
        return Expected("no verdict"), [f"exit code {child.returncode}", *errors.strip().splitlines()[-20:]]
    remarks = [f"report: {kept}"]
    if child.returncode != VERDICTS.get(kind):
        remarks.append(f"exit code {child.returncode} does not go with {kind}")
        return Expected("no verdict"), remarks
    remarks += [str(verdict.get(key)) for key in ("why", "advice") if key in verdict]
    remarks += [
        f"step {found['step']}, {found['cause']}: {found['because']}" for found in verdict.get("dependences", [])
    ]
    if any(len(found["witness"]["steps"]) > STEPS_MAX for found in verdict.get("dependences", [])):
        return Expected("a witness of too many steps"), remarks
    if kind == "dependent" and not is_shown_again(kept.with_suffix(".witness"), args):
        return Expected("a witness that is not shown again"), remarks
    causes = sorted({found["cause"] for found in verdict.get("dependences", [])})
    return Expected(kind, " and ".join(causes) or None), remarks


def is_shown_again(witness: Path, args: argparse.Namespace) -> bool:
    """Whether `unstick audit --replay` comes out the same 5 of 5 times in each of the four placements."""
    command = [args.unstick.resolve(), "audit", "--replay", witness, "--json"]
    replay = subprocess.run(command, cwd=APPS, capture_output=True, text=True, timeout=args.limit)
    if replay.returncode != VERDICTS["dependent"]:
        return False
    cells = json.loads(replay.stdout)["verdict"]["dependences"][0]["witness"]["cells"]
    return [(cell["right"], cell["runs"]) for cell in cells] == [(5, 5), (0, 5), (5, 5), (0, 5)]


def by_hand(row: Row, spawn: str, disk: str, _seed: int, args: argparse.Namespace) -> tuple[Expected, list[str]]:
    """Cuts the journey after each step, and plays the parts on A and A, A and B, B and B, B and A."""
    steps, times, remarks, crossed = read(row.journey), args.times, [], []
    with tempfile.TemporaryDirectory(prefix="audit-app-") as root, Replicas(spawn, disk, Path(root)) as replicas:
        for cut in range(1, len(steps)):
            right = Counter()
            for place in PLACES:
                for _ in range(times):
                    came = play(steps, cut, place, replicas)
                    right[place] += came is None
                    text = f"{place} {steps[came[0]]['name']}: {came[1]}" if came else ""
                    if text and text not in remarks:
                        remarks.append(text)
            cells = "  ".join(f"{place} {right[place]}/{times}" for place in PLACES)
            remarks.append(f"cut after {steps[cut - 1]['name']} ({cut} of {len(steps)}): {cells}")
            if right["AA"] < times or right["BB"] < times:
                return Expected("inconclusive"), remarks
            crossed.append(right["AB"] + right["BA"])
    if all(count == 2 * times for count in crossed):
        return CLEAN, remarks
    return (dependent("by hand") if 0 in crossed else Expected("inconclusive")), remarks


def play(steps: list[dict], cut: int, place: str, replicas: Replicas) -> tuple[int, str] | None:
    ports = [replicas.ports[place[0 if number < cut else 1]] for number in range(len(steps))]
    return Run(steps, f"127.0.0.1:{replicas.ports['A']}").play(ports)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
