"""Two replicas of an application, each with its own disk or both with one, as `unstick audit --spawn` starts them."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from .installs import APPS, SetupError

START_S = 120
LINKED = ("node_modules", "__pycache__")
NAMES = "AB"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Replicas:
    """Replicas A and B. All processes of both are ended when the `with` block is left, in whatever way."""

    def __init__(self, spawn: str, disk: str, root: Path) -> None:
        self.spawn, self.disk, self.root = spawn, disk, root
        self.ports = {name: free_port() for name in NAMES}
        self.running: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> Replicas:
        try:
            for name in NAMES:
                self.running[name] = self.start(name)
            for name in NAMES:
                self.wait_until_ready(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for child in self.running.values():
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()

    def folder(self, name: str) -> Path:
        """The folder of a replica, with a copy of the applications; one for both if the disk is shared."""
        folder = self.root / (name if self.disk == "own" else "shared")
        if not folder.exists():
            shutil.copytree(APPS, folder / "work", ignore=shutil.ignore_patterns(*LINKED))
            (folder / "work" / "node_modules").symlink_to(APPS / "node_modules")
            for part in ("home", "tmp", "dir"):
                (folder / part).mkdir()
        return folder

    def start(self, name: str) -> subprocess.Popen:
        folder = self.folder(name)
        words = {
            "port": self.ports[name],
            "n": NAMES.index(name) + 1,
            "dir": folder / "dir",
            "key": secrets.token_hex(16),
        }
        command = self.spawn
        for word, value in words.items():
            command = command.replace(f"{{{word}}}", str(value))
        home = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
        with open(self.root / f"{name}.log", "wb") as log:
            return subprocess.Popen(
                ["nice", "-n", "15", "sh", "-c", command],
                cwd=folder / "work",
                env=os.environ
                | home
                | {f"XDG_{kind}_HOME": str(folder / "home") for kind in ("CACHE", "CONFIG", "DATA")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self, name: str) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.running[name].poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.ports[name]), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        lines = (self.root / f"{name}.log").read_text(errors="replace").splitlines()[-20:]
        raise SetupError("\n  ".join([f"replica {name} did not start: {self.spawn}", *lines]))
