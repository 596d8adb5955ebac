"""A process under callgrind: how many instructions it executed, and when one of its threads rests."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tempfile
import time
from pathlib import Path

from .process import Children, fail_setup, wait_until

# valgrind counts every byte of a `rep movsb`: above its threshold a copy would seem to cost twelve times as much.
TUNABLES = "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824"
EPOLL_WAITS = {"x86_64": {232, 281, 441}, "aarch64": {22, 441}}  # epoll_wait, epoll_pwait, epoll_pwait2
TIMEOUT_ARGUMENT = 4  # of these calls, counted with the number of the call in front


def need_callgrind() -> None:
    """Fails unless the system has what this file needs."""
    if subprocess.run(["sh", "-c", "command -v valgrind callgrind_control"], capture_output=True).returncode:
        fail_setup("apt-get install valgrind")
    if platform.machine() not in EPOLL_WAITS:
        fail_setup(f"the numbers of the system calls of {platform.machine()} are not known: add them to {__file__}")


class Callgrind:
    """Starts a program under callgrind. Counters are those of user space; the kernel's instructions are not seen."""

    def __init__(self, children: Children, tmp: Path, command: list, log: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=tmp))
        self._dumps = 0
        self._pipes = f"--vgdb-prefix={self._folder}/vgdb"  # else they stay in /tmp when the process is killed
        tool = ["valgrind", "--tool=callgrind", "--separate-threads=yes", self._pipes]
        command = [*tool, f"--callgrind-out-file={self._folder}/count", *command]
        self.process = children.start(command, log=log, env={**os.environ, "GLIBC_TUNABLES": TUNABLES})

    @property
    def pid(self) -> int:
        return self.process.pid

    def taken(self) -> dict[str, int]:
        """Instructions of each thread since the last call, or since the start, by callgrind's number of it."""
        self._dumps += 1
        command = ["callgrind_control", self._pipes, "--dump", str(self.pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        threads = {}
        for file in self._folder.glob(f"count.{self._dumps}-*"):
            found = re.search(r"^summary: (\d+)$", file.read_text(), re.M)
            threads[file.name.rpartition("-")[2]] = int(found.group(1)) if found else 0
            file.unlink()
        if not threads:
            raise RuntimeError(f"callgrind_control wrote no figures: {(done.stdout + done.stderr).strip()[-500:]}")
        return threads


class Thread:
    """One thread of a process, as the kernel sees it."""

    def __init__(self, pid: int, name: str) -> None:
        tasks = Path(f"/proc/{pid}/task")

        def named() -> list[Path]:
            return [task for task in tasks.iterdir() if (task / "comm").read_text().strip() == name]

        # A thread takes its name when it first runs.
        (task,) = wait_until(named, 20, f"a thread of process {pid} is called {name}")
        self._name, self._call = name, task / "syscall"
        self._waits = EPOLL_WAITS[platform.machine()]

    def _rests(self) -> bool:
        words = self._call.read_text().split()
        return words[0].isdigit() and int(words[0]) in self._waits and int(words[TIMEOUT_ARGUMENT], 16) != 0

    def wait_until_it_rests(self, seconds: float = 20) -> None:
        """Waits until the thread waits for events, which means that it has done all its work.

        A thread that was given something to do is runnable at once, so it is not taken for one that has done it.
        """
        deadline = time.monotonic() + seconds
        while not self._rests():
            os.sched_yield()
            if time.monotonic() > deadline:
                raise TimeoutError(f"thread {self._name} was busy for {seconds:g} s")
