"""The figures that are checked in, and how to measure their commit again where they do not apply."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

from .process import ROOT

FILE = ROOT / "benches" / "instructions.json"
# Cheap to build and close enough to the shipped binary, see README.md. It is built without `prove`, which takes no part
# in requests.
PROFILE = "gate"
TARGET = ROOT / "target"
BUILD = ["cargo", "build", "--quiet", "--locked", "--no-default-features", "--profile", PROFILE]
# The CPU flags that valgrind shows to the program, by which libraries choose their loops. It hides all others, so
# machines that differ only in those do not differ here.
CPU_FLAGS = set("pni ssse3 cx16 sse4_1 sse4_2 popcnt abm avx f16c rdrand rdtscp rdseed bmi1 bmi2 avx2".split())


def output(*command, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """What affects the instructions per request besides the source."""
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    flags = next((value.split() for name, _, value in lines if name.strip() in ("flags", "Features")), [])
    if platform.machine() == "x86_64":
        flags = [flag for flag in flags if flag in CPU_FLAGS]
    return {
        "machine": platform.machine(),
        "cpu flags": " ".join(sorted(flags)),
        "rustc": output("rustc", "--version"),
        "libc": os.confstr("CS_GNU_LIBC_VERSION") or "unknown",
        "valgrind": output("valgrind", "--version"),
        "profile": PROFILE,
    }


def build(root: Path = ROOT) -> Path:
    """The binary of the tree at `root`. All trees share the dependencies that were built in `target`."""
    done = subprocess.run(BUILD, cwd=root, env={**os.environ, "CARGO_TARGET_DIR": str(TARGET)})
    if done.returncode:
        raise RuntimeError(f"{' '.join(BUILD)} failed in {root}")
    return TARGET / PROFILE / "unstick"


def commit() -> str:
    """The commit whose figures are checked in: the one that checked them in.

    A file cannot contain the hash of its own commit, and that of the commit before would not outlive a rebase.
    """
    name = str(FILE.relative_to(ROOT))
    if output("git", "status", "--porcelain", "--", name):
        raise RuntimeError(f"{name} is not committed, and its figures are of another machine")
    found = output("git", "log", "-1", "--format=%H", "--", name)
    # In a shallow clone the oldest commit seems to have brought every file.
    shallow = ROOT / output("git", "rev-parse", "--git-path", "shallow")
    if not found or (shallow.exists() and found in shallow.read_text().split()):
        raise RuntimeError(f"the commit of the figures in {name} is not in this clone: git fetch --unshallow")
    return found


def build_commit(found: str, keep: Path) -> Path:
    """The binary of a commit, moved to `keep`."""
    tree = TARGET / "recorded"
    remove = ["git", "worktree", "remove", "--force", tree]
    subprocess.run(remove, cwd=ROOT, capture_output=True)  # that of a run that was killed
    output("git", "worktree", "add", "--force", "--detach", tree, found)
    try:
        return build(tree).rename(keep)
    finally:
        output(*remove)


def load() -> dict:
    return json.loads(FILE.read_text())


def save(instructions: dict[str, float]) -> None:
    rounded = {kind: round(count) for kind, count in instructions.items()}
    record = {"environment": environment(), "instructions": rounded}
    FILE.write_text(json.dumps(record, indent=2) + "\n")
