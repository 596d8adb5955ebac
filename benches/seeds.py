#!/usr/bin/env python3
"""Do the predictions of `unstick prove` hold with one seed after the other, and on a busy machine too?

Runs it once for each seed and prints a line: how many predictions there are, which are broken, how many say nothing,
what was left out, and how long it took. With --busy another process keeps one core busy meanwhile. What comes behind
`--` is passed on; without anything that is `--full`. The exit code is 1 if a prediction was broken, or a run was
inconclusive.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from lib.process import UNSTICK, Children, findings, need_unstick

SPIN = "while True: pass"
RUN_MAX_S = 1800


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds (10)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (1)")
    parser.add_argument("--busy", action="store_true", help="keep one core busy meanwhile")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    parser.add_argument("run", nargs="*", help="flags of `unstick prove`, behind `--` (--full)")
    return parser.parse_args()


def predictions(report: dict) -> list[tuple[str, dict]]:
    """Each prediction with the place that it is about."""
    cells = [(f"{cell['arm']}, {cell['event']}", cell) for cell in report["cells"]]
    for study in report["studies"]:
        cells += [(f"{study['study']}, {column['place']}", column) for column in study["columns"]]
    found = [(place, one) for place, cell in cells for one in cell["predictions"]]
    return found + [("slow replica", one) for one in report["slow_predictions"]]


def run(children: Children, unstick: Path, seed: int, flags: list[str]) -> bool:
    """One run; whether nothing was broken and something can be concluded."""
    with tempfile.TemporaryDirectory(prefix="unstick-seeds-") as folder:
        file = Path(folder) / "report.json"
        began = time.monotonic()
        command = [unstick, "prove", *flags, "--seed", str(seed), "--json", file]
        code, _, complaint = children.run(command, RUN_MAX_S)
        took = time.monotonic() - began
        if not file.exists() or not file.stat().st_size:
            print(f"seed {seed}: exit {code} after {took:.0f} s: {complaint.strip()[-300:]}", flush=True)
            return False
        report = json.loads(file.read_text())
    verdicts = Counter(one["verdict"] for _, one in predictions(report))
    counted = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"seed {seed}: exit {code} after {took:.0f} s: {counted}", flush=True)
    for place, one in predictions(report):
        if one["verdict"] == "broken":
            print(f"  {place}: {one['what']}: expected {one['expected']}, measured {one['measured']}", flush=True)
    for line in [*report["inconclusive"], *report["skipped"]]:
        print(f"  {line}", flush=True)
    return code == 0


def main() -> int:
    args = arguments()
    unstick = need_unstick(args.unstick)
    with findings(), Children() as children:
        if args.busy:
            children.start([sys.executable, "-c", SPIN])
        seeds = range(args.first, args.first + args.seeds)
        held = [run(children, unstick, seed, args.run or ["--full"]) for seed in seeds]
    print(f"{sum(held)} of {len(held)} runs held")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
