"""Child processes, ports and what the kernel says about a process."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNSTICK = ROOT / "target" / "dist" / "unstick"
os.environ["PATH"] += ":/usr/sbin"  # where Debian keeps nginx and haproxy, and users often do not look


def fail_setup(message: str):
    """Reports that something is missing before anything was measured, and exits with 2."""
    print(message, file=sys.stderr)
    sys.exit(2)


def need_tools(*names: str) -> None:
    """Fails unless these programs from system packages are installed."""
    if any(shutil.which(name) is None for name in names):
        fail_setup("apt-get install haproxy nginx-light wrk")


def need_unstick(path: Path) -> Path:
    """A binary with a slash in its path, so that no other `unstick` on PATH is measured by accident."""
    path = Path(path).resolve()
    if not os.access(path, os.X_OK):
        fail_setup(f"{path} does not exist: packaging/build.sh, or cargo build --profile dist")
    return path


def algorithms(unstick: Path) -> list[str]:
    """The balancing algorithms that this binary knows."""
    usage = subprocess.run([need_unstick(unstick), "run", "--help"], capture_output=True, text=True, check=True).stdout
    listed = re.search(r"--balance <ALGORITHM>.*?\[possible values: ([^]]+)\]", usage, re.DOTALL)
    if not listed:
        fail_setup(f"{unstick} run --help lists no algorithms")
    return [name.strip() for name in listed[1].split(",")]


def cores() -> tuple[int, int]:
    """One core for the proxy, one for everything else (the same one if there is only one)."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        print("warning: only one core, load and proxy share it", file=sys.stderr)
    return allowed[0], allowed[-1]


def free_port() -> int:
    """A port nobody listens on, below the ephemeral range, so that no outgoing connection takes it later."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(min(10_000, low // 2), low)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Children:
    """Every process that a script has started. All are ended by pid when the `with` block is left, in whatever way."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen] = []

    def start(
        self, command: list, core: int | None = None, log: Path | None = None, nice: int = 0, **popen
    ) -> subprocess.Popen:
        """Starts `command`, pinned to `core` (all its threads), with stdout and stderr appended to `log`."""
        command = [str(part) for part in command]
        if nice:
            command = ["nice", "-n", str(nice), *command]
        if core is not None:
            command = ["taskset", "-c", str(core), *command]  # execs: the pid is that of the program
        with open(log or os.devnull, "ab") as sink:
            popen.setdefault("stdout", sink)
            popen.setdefault("stderr", sink)
            child = subprocess.Popen(command, **popen)
        self._running.append(child)
        return child

    def run(self, command: list, seconds: float, **popen) -> tuple[int, str, str]:
        """Runs `command` to its end: its exit code, stdout and stderr. If that takes longer, `interrupt` ends it."""
        pipe = subprocess.PIPE
        child = subprocess.Popen([str(part) for part in command], stdout=pipe, stderr=pipe, text=True, **popen)
        self._running.append(child)
        try:
            try:
                said = child.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                self.interrupt(child)
                said = child.communicate()
        finally:
            self.interrupt(child)
            self._running.remove(child)
        return child.returncode, *said

    def interrupt(self, child: subprocess.Popen, seconds: float = 30) -> None:
        """Ends one child so that it can end its own and remove its folders: SIGINT, and SIGKILL after `seconds`."""
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def interrupt_all(self) -> None:
        """The same with all: each gets its SIGINT before any is waited for."""
        running = [child for child in self._running if child.poll() is None]
        for child in running:
            child.send_signal(signal.SIGINT)
        for child in running:
            self.interrupt(child)

    def stop(self, child: subprocess.Popen, kill: bool = False) -> None:
        """Ends one child: SIGTERM, and SIGKILL if it has not ended after 3 s (or at once with `kill`)."""
        if child.poll() is None:
            child.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            try:
                child.wait(3)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child in self._running:
            self._running.remove(child)

    def __enter__(self) -> Children:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `with` and `finally` run
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return self

    def __exit__(self, *_) -> None:
        for child in reversed(list(self._running)):
            self.stop(child)


def cpu_ns(pid: int) -> dict[int, int]:
    """CPU time of each thread in ns, user and system together, as the scheduler counted it."""
    return scheduled_ns(pid, 0)


def waited_ns(pid: int) -> dict[int, int]:
    """How long each thread was ready to run but had to wait, because something else ran on its core."""
    return scheduled_ns(pid, 1)


def scheduled_ns(pid: int, column: int) -> dict[int, int]:
    threads = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            threads[int(task)] = int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[column])
        except (FileNotFoundError, ProcessLookupError):
            pass  # a thread that ended in between
    return threads


def cpu_spent_ns(pid: int, before: dict[int, int]) -> int:
    """CPU time of all threads since `before`."""
    return sum(now - before.get(thread, 0) for thread, now in cpu_ns(pid).items())


def waited_since_ns(pid: int, before: dict[int, int]) -> int:
    """How long all threads together had to wait since `before`."""
    return sum(now - before.get(thread, 0) for thread, now in waited_ns(pid).items())


def thread_ids(pid: int, *names: str) -> set[int]:
    """The threads with one of these names."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name) for task in tasks if (task / "comm").read_text().strip() in names}


def memory_kib(pid: int, field: str = "VmRSS") -> int:
    """`VmRSS` (resident now) or `VmHWM` (the most there ever was), in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"no {field} in /proc/{pid}/status")


def wait_until(condition, seconds: float, what: str, every: float = 0.02):
    """Polls `condition` until it yields something true; a timeout is an error that names `what`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(every)
    raise TimeoutError(f"{what}: not within {seconds:g} s")


@contextmanager
def findings():
    """Turns what went wrong while measuring into one line and exit code 1."""
    try:
        yield
    except (RuntimeError, TimeoutError, OSError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        sys.exit(1)
