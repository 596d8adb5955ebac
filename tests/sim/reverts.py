#!/usr/bin/env python3
"""Takes back one mend at a time and asks the simulator to find the fault again.

A simulator that finds nothing shows nothing by itself. Each entry of REVERTS is a fault that the data path once had. It
is put into a copy of the source, the example `sim` is built there, and seeds are run until a rule does not hold. The
table that is printed stands in ARCHITECTURE.md.

    tests/sim/reverts.py [NAME ...] [--seeds 20000]
"""

import argparse
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPIED = ["Cargo.toml", "Cargo.lock", "src", "tests", "examples", "benches", "config", "README.md"]

# The name, what is wrong with it, the file, the text that is there, and the text with the fault.
REVERTS = [
    (
        "timer",
        "a timer that was polled without budget is taken for registered",
        "src/deadlines.rs",
        "ready!(pin!(unconstrained(sleep.as_mut())).poll(cx));",
        "let _ = (unconstrained(async {}), pin!(()));\n                    ready!(sleep.as_mut().poll(cx));",
    ),
    (
        "tail",
        "a drained HTTP/2 connection is closed when its last stream has ended here, not at the client",
        "src/listen/h2.rs",
        "let is_late = deadlines.expired(Wait::Client);",
        "let is_late = deadlines.expired(Wait::Client) || self.going_since.is_some() && self.shared.open.get() == 0;",
    ),
    (
        "owner",
        "h2 is given more than the client's windows let out, and nobody has a deadline for that",
        "src/net/h2.rs",
        "let mut capacity = self.stream.capacity();",
        "let mut capacity = self.stream.capacity().max(self.part.len());",
    ),
    (
        "idle",
        "a connection that waits for its next request is closed at once when its listener drains",
        "src/listen/listener.rs",
        "Idle::MayAsk => timeouts.drain_idle,",
        "Idle::MayAsk => Duration::ZERO,",
    ),
    (
        "close",
        "the end of a connection is not announced in its last response",
        "src/proxy/closing.rs",
        'headers.append(CONNECTION, HeaderValue::from_static("close"));',
        'let _ = (headers, CONNECTION, HeaderValue::from_static("close"));',
    ),
    (
        "cancels",
        "a row of cancelled streams ends the whole connection of the client",
        "src/listen/h2.rs",
        ".max_pending_accept_reset_streams(usize::MAX)",
        ".max_pending_accept_reset_streams(20)",
    ),
    (
        "tunnel",
        "when a replica closes its half of a tunnel, what the client still sends is discarded",
        "src/listen/client_io.rs",
        "let is_read = client.is_busy() || client.is_half_closed();",
        "let is_read = client.is_half_closed();",
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of the reverts to run; all without any")
    parser.add_argument("--seeds", type=int, default=20_000, help="how many seeds to try at most")
    options = parser.parse_args()
    chosen = [revert for revert in REVERTS if not options.names or revert[0] in options.names]
    found_all = True
    print("| fault | rule | seed | events, before shrinking | CPU until found |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="unstick-reverts-") as scratch:
        copy = pathlib.Path(scratch)
        for name in COPIED:
            source = ROOT / name
            shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy2(source, copy / name)
        for revert in chosen:
            row = find(copy, revert, options.seeds)
            found_all &= row is not None
            print(row or f"| {revert[1]} | not found in {options.seeds} seeds | | | |", flush=True)
    return 0 if found_all else 1


def find(copy: pathlib.Path, revert: tuple, seeds: int) -> str | None:
    """A row of the table, if the fault is found."""
    _, what, path, sound, faulty = revert
    file = copy / path
    before = file.read_text()
    if before.count(sound) != 1:
        sys.exit(f"{path} has no longer exactly one {sound!r}: bring REVERTS up to date")
    file.write_text(before.replace(sound, faulty))
    try:
        environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target")}
        build = ["cargo", "build", "-q", "--example", "sim", "--locked"]
        subprocess.run(build, cwd=copy, env=environment, check=True)
        program = copy / "sim"
        shutil.copy2(ROOT / "target/debug/examples/sim", program)
    finally:
        file.write_text(before)
    began = cpu_seconds()
    told = run(program, "--seeds", str(seeds), "--until-failure", "--list")
    took = cpu_seconds() - began
    first = re.search(r"^(\d+) ([^:]+): ", told, re.MULTILINE)
    if not first:
        return None
    smallest = run(program, "--seed", first[1], "--tell")
    events = re.search(r"^(\d+) events, (\d+) before shrinking", smallest, re.MULTILINE)
    sizes = f"{events[1]}, {events[2]}" if events else "?"
    return f"| {what} | {first[2]} | {first[1]} | {sizes} | {took:.1f} s |"


def run(program: pathlib.Path, *arguments: str) -> str:
    # It fails when a rule does not hold, which is what is wanted.
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True, timeout=3600).stdout


def cpu_seconds() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


if __name__ == "__main__":
    sys.exit(main())
