"""Puts known faults back, one at a time, and asks the simulator to find each again.

A simulator that finds nothing shows nothing by itself. Each entry of FAULTS is a fault that the data path once had. All
are put into one copy of the source, each behind a name in the environment, so that one build is enough. Then seeds are
run with each of them until a rule does not hold. The table that is printed stands in ARCHITECTURE.md.

    tests/sim/reverts.py [NAME ...] [--seeds 20000] [--keep FOLDER]
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

# Names the fault that is active.
VARIABLE = "UNSTICK_FAULT"
ACTIVE = f"""
/// Whether this fault is to be active.
pub(crate) fn has_fault(name: &str) -> bool {{
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| std::env::var("{VARIABLE}").unwrap_or_default()) == name
}}
"""

# The name, what is wrong with it, the file, and pairs of a text that is there and the text with the fault, in which
# FAULT is whether it is active.
FAULTS = [
    (
        "timer",
        "a timer that was polled without budget is taken for registered",
        "src/deadlines.rs",
        (
            "ready!(pin!(unconstrained(sleep.as_mut())).poll(cx));",
            "if FAULT { ready!(sleep.as_mut().poll(cx)) } "
            "else { ready!(pin!(unconstrained(sleep.as_mut())).poll(cx)) }",
        ),
    ),
    (
        "tail",
        "a drained HTTP/2 connection is closed when its last stream has ended here, not at the client",
        "src/listen/h2.rs",
        (
            "let is_late = deadlines.expired(Wait::Client);",
            "let is_late = deadlines.expired(Wait::Client) "
            "|| FAULT && self.going_since.is_some() && self.shared.open.get() == 0;",
        ),
    ),
    (
        "owner",
        "h2 is given more than the client's windows let out, and nobody has a deadline for that",
        "src/net/h2.rs",
        (
            "let mut capacity = self.stream.capacity();",
            "let mut capacity = self.stream.capacity().max(if FAULT { self.part.len() } else { 0 });",
        ),
    ),
    (
        "idle",
        "a connection that waits for its next request is closed at once when its listener drains",
        "src/listen/listener.rs",
        (
            "Idle::MayAsk => timeouts.drain_idle,",
            "Idle::MayAsk if FAULT => Duration::ZERO,\nIdle::MayAsk => timeouts.drain_idle,",
        ),
    ),
    (
        "close",
        "the end of a connection is not announced in its last response",
        "src/proxy/closing.rs",
        (
            'headers.append(CONNECTION, HeaderValue::from_static("close"));',
            'if !FAULT { headers.append(CONNECTION, HeaderValue::from_static("close")); }',
        ),
    ),
    (
        "cancels",
        "a row of cancelled streams ends the whole connection of the client",
        "src/listen/h2.rs",
        (
            ".max_pending_accept_reset_streams(usize::MAX)",
            ".max_pending_accept_reset_streams(if FAULT { 20 } else { usize::MAX })",
        ),
    ),
    (
        "tunnel",
        "when a replica closes its half of a tunnel, what the client still sends is discarded",
        "src/listen/client_io.rs",
        (
            "let is_read = client.is_busy() || client.is_half_closed();",
            "let is_read = !FAULT && client.is_busy() || client.is_half_closed();",
        ),
    ),
    (
        "broken-tunnel",
        "a tunnel that breaks off ends in order towards the replica",
        "src/proxy/tunnel.rs",
        ("if !self.is_cut {", "if !self.is_cut || FAULT {"),
    ),
    (
        "refused-upgrade",
        "the connection of a refused upgrade is dropped with what the client has no room for",
        "src/listen/h1.rs",
        ("result.is_ok() && !lifecycle.io.is_shut()", "result.is_ok() && !FAULT && !lifecycle.io.is_shut()"),
    ),
    (
        "reset",
        "a reset of which only a write has heard passes for the end of a response without a length",
        "src/link/record.rs",
        (
            "Some(kind) if is_end =>",
            "Some(kind) if is_end && !FAULT =>",
        ),
    ),
    (
        "outbox",
        "an idle connection is closed although the end of its response waits in the outbox",
        "src/listen/lifecycle.rs",
        ("if self.socket.holds_unsent() {", "if !FAULT && self.socket.holds_unsent() {"),
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of the faults to find; all without any")
    parser.add_argument("--seeds", type=int, default=20_000, help="how many seeds to try at most")
    parser.add_argument("--keep", type=pathlib.Path, help="leave the copy with the faults here")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if not options.names or fault[0] in options.names]
    found_all = True
    with tempfile.TemporaryDirectory(prefix="unstick-faults-") as scratch:
        copy = options.keep or pathlib.Path(scratch)
        program = built(copy)
        print("| fault | rule | seed | events, before shrinking | CPU until found |\n|---|---|---|---|---|", flush=True)
        for name, what, *_ in chosen:
            row = find(program, name, what, options.seeds)
            found_all &= row is not None
            print(row or f"| {what} | not found in {options.seeds} seeds | | | |", flush=True)
    return 0 if found_all else 1


def built(copy: pathlib.Path) -> pathlib.Path:
    """Builds the example in a copy of the source that has all faults."""
    for name in COPIED:
        source = ROOT / name
        shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy2(source, copy / name)
    for name, _, path, *pairs in FAULTS:
        for sound, faulty in pairs:
            text = (copy / path).read_text()
            if text.count(sound) != 1:
                sys.exit(f"{path} has no longer exactly one {sound!r}: bring FAULTS up to date")
            (copy / path).write_text(text.replace(sound, faulty.replace("FAULT", f'crate::has_fault("{name}")')))
    with (copy / "src/lib.rs").open("a") as lib:
        lib.write(ACTIVE)
    environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target")}
    subprocess.run(["cargo", "build", "-q", "--example", "sim", "--locked"], cwd=copy, env=environment, check=True)
    # The next build of the example takes its place.
    return pathlib.Path(shutil.copy2(ROOT / "target/debug/examples/sim", copy / "sim"))


def find(program: pathlib.Path, name: str, what: str, seeds: int) -> str | None:
    """A row of the table, if the fault is found."""
    began = cpu_seconds()
    told = run(program, name, "--seeds", str(seeds), "--until-failure", "--list")
    took = cpu_seconds() - began
    first = re.search(r"^(\d+) ([^:]+): ", told, re.MULTILINE)
    if not first:
        return None
    smallest = run(program, name, "--seed", first[1], "--tell")
    events = re.search(r"^(\d+) events, (\d+) before shrinking", smallest, re.MULTILINE)
    sizes = f"{events[1]}, {events[2]}" if events else "?"
    return f"| {what} | {first[2]} | {first[1]} | {sizes} | {took:.1f} s |"


def run(program: pathlib.Path, fault: str, *arguments: str) -> str:
    # It fails when a rule does not hold, which is what is wanted.
    environment = os.environ | {VARIABLE: fault}
    command = [program, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=3600, env=environment).stdout


def cpu_seconds() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


if __name__ == "__main__":
    sys.exit(main())
