"""Starts nginx, HAProxy and unstick on a folder, and ends them."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.cases import Case, filled

START_S = 10
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy"}
os.environ["PATH"] += ":/usr/sbin"  # where Debian keeps both


class SetupError(Exception):
    """Something is missing, or does not start."""


def missing() -> str:
    """What must be installed, as a line to type; empty if nothing."""
    lacking = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    return f"apt-get install {' '.join(lacking)}" if lacking else ""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def command(case: Case, folder: Path, environment: dict[str, str]) -> list[str]:
    """How the other proxy is started on its copy of the files."""
    file = folder / case.main
    if case.kind == "haproxy":
        return ["haproxy", "-db", "-f", str(file)]
    if case.main.endswith(".template"):
        text = filled(file.read_text(), environment)
        file = file.with_suffix("")
        file.write_text(text)
    # Workers must be allowed to read files, whoever has started this.
    folder.chmod(0o755)
    return ["nginx", "-p", str(folder), "-c", str(file), "-g", "daemon off; pid nginx.pid; error_log error.log;"]


@contextmanager
def running(name: str, words: list[str], port: int, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A program that listens on this port while the block runs."""
    log = folder / f"{name}.log"
    with log.open("w") as out:
        child = subprocess.Popen(
            words, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=os.environ | environment, text=True
        )
    try:
        wait_for(child, name, port, log)
        yield
        if child.poll() is not None:
            raise SetupError(f"{name} has ended by itself: {tail(log)}")
    finally:
        end(child)
    if "panicked" in log.read_text():
        raise SetupError(f"{name} has panicked: {tail(log)}")


def wait_for(child: subprocess.Popen, name: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise SetupError(f"{name} does not start: {tail(log)}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SetupError(f"{name} does not listen within {START_S} s: {tail(log)}")


def end(child: subprocess.Popen) -> None:
    """Ends a child. unstick waits for open responses; a second signal hurries it."""
    for _ in range(2):
        if child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(2)
        except subprocess.TimeoutExpired:
            continue
    if child.poll() is None:
        child.kill()
        child.wait()


def tail(log: Path) -> str:
    return log.read_text()[-1500:]
