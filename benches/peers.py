#!/usr/bin/env python3
"""CPU, memory and latency of unstick beside those of other proxies, all in the same run.

Every product has one thread on one core; the load and the replicas are on another. All of them are alive all the time,
and take their rounds in turn, the order reversed each time. What is missing is installed: from Debian, or into
target/peers. What cannot be installed is left out, which is said.
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from lib.peers.cells import CELLS, Cell
from lib.peers.measure import Measured, Plan, Products, measure
from lib.peers.products import FLOORS, PEERS, UNSTICK, Missing, system_program
from lib.peers.report import OLD, SUBJECT, TWIN, Row, as_json, rows, table, warnings
from lib.process import ROOT, UNSTICK as BINARY, cores, fail_setup, need_unstick

TOOLS = (("nginx", "nginx-light"), ("wrk", "wrk"), ("h2load", "nghttp2-client"), ("openssl", "openssl"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", metavar="CELL", help="these cells only; see --list")
    parser.add_argument("--peers", nargs="+", metavar="PEER", help="these peers only; see --list")
    parser.add_argument("--rounds", type=int, default=11, help="rounds of each product (11)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a round (2)")
    parser.add_argument("--idle", type=int, default=2000, help="idle connections for the memory (2000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds and the table there")
    parser.add_argument("--unstick", type=Path, default=BINARY, metavar="PATH")
    parser.add_argument("--old", type=Path, metavar="PATH", help="measure this unstick binary beside the others")
    parser.add_argument("--list", action="store_true", help="print the cells and the peers")
    args = parser.parse_args()
    if min(args.rounds, args.seconds, args.idle) < 1:
        parser.error("--rounds, --seconds and --idle must be at least 1")
    return args


def chosen_cells(names: list[str] | None) -> list[Cell]:
    known = {cell.name: cell for cell in CELLS}
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        fail_setup(f"no such cell: {', '.join(unknown)}; there are {', '.join(known)}")
    return [cell for cell in CELLS if not names or cell.name in names]


def chosen_products(args: argparse.Namespace) -> tuple[Products, dict[str, str]]:
    """unstick, its twin (the noise), the peers and the floor; and why others are left out."""
    known = {product.name: product for product in (*PEERS, *FLOORS)}
    names = list(known) if args.peers is None else args.peers
    unknown = [name for name in names if name not in known]
    if unknown:
        fail_setup(f"no such peer: {', '.join(unknown)}; there are {', '.join(known)}")
    subject = replace(UNSTICK, binary=need_unstick(args.unstick))
    products: Products = [(SUBJECT, subject), (TWIN, subject)]
    if args.old:
        products.append((OLD, replace(UNSTICK, binary=need_unstick(args.old))))
    left_out = {}
    for name in names:
        try:
            products.append((name, known[name].installed()))
        except Missing as missing:
            left_out[name] = str(missing)
    return products, left_out


def machine() -> dict[str, str | int]:
    """Where and of what the figures are."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "cpu": cpus[0].partition(": ")[2] if cpus else platform.machine(),
        "cpus": len(cpus),
        "kernel": platform.release(),
    }


def written(file: Path, found: list[Measured], versions: dict[str, str]) -> None:
    """Writes what is there after each cell, so that a run that is cut short is not lost."""
    content = {
        "machine": machine(),
        "versions": versions,
        "rows": as_json(table_rows(found)),
        "cells": [each.as_json() for each in found],
    }
    file.write_text(json.dumps(content, indent=1) + "\n")


def main() -> int:
    args = arguments()
    if args.list:
        print("cells:", *(f"  {cell.name:<14} {cell.what}" for cell in CELLS), sep="\n")
        print("peers:", *(f"  {product.name:<14} {product.package}" for product in (*PEERS, *FLOORS)), sep="\n")
        return 0
    cells = chosen_cells(args.cells)
    try:
        for program, package in TOOLS:
            system_program(program, package)
    except Missing as missing:
        fail_setup(str(missing))
    products, left_out = chosen_products(args)
    versions = {name: product.version_text() for name, product in products if name != TWIN}
    for name, version in versions.items():
        print(f"{name}: {version}")
    for name, reason in left_out.items():
        print(f"{name} is left out: {reason}")
    found: list[Measured] = []
    try:
        for each in measure(cells, products, Plan(args.rounds, args.seconds, args.idle, cores())):
            found.append(each)
            if args.json:
                written(args.json, found, versions)
    except KeyboardInterrupt:
        print("interrupted; the cells before this one were measured", flush=True)
    return tell(found, left_out) if found else 1


def table_rows(found: list[Measured]) -> list[Row]:
    return [row for each in found for row in rows(each)]


def tell(found: list[Measured], left_out: dict[str, str]) -> int:
    """Prints the tables and what is to be known about them; the exit code is 1 if a bar is missed."""
    all_rows = table_rows(found)
    print()
    print(table(all_rows))
    print()
    for each in found:
        if each.note:
            print(f"{each.cell.name}: {each.note}")
        for name, reason in (each.left_out | each.failed).items():
            print(f"{each.cell.name}: {name} is left out: {reason}")
    for name, reason in left_out.items():
        print(f"{name} is left out: {reason}")
    for warning in warnings(all_rows):
        print(f"warning: {warning}")
    failed = any(SUBJECT in each.failed for each in found)
    return 1 if failed or any(row.missed for row in all_rows) else 0


if __name__ == "__main__":
    sys.exit(main())
