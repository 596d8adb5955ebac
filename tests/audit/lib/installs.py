"""What the applications need: Node packages, and a virtual environment per group of Python packages.

Everything lies in target/audit-apps and stays there between runs. A group is made anew when its list has changed. The
applications are copied there too, beside `node_modules`, so that the replicas start in a folder of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
HOME = HERE.parents[1] / "target" / "audit-apps"
APPS = HOME / "apps"
DATABASE = HOME / "django.sqlite3"
LIMIT_S = 900
POLITE = ["nice", "-n", "15"]


class SetupError(Exception):
    """Something that is needed could not be installed or started."""


@dataclass(frozen=True)
class Group:
    """Packages that are installed together. `light` ones take some seconds; the others pull many packages."""

    name: str
    light: bool = False

    @property
    def python(self) -> Path:
        return HOME / f"venv-{self.name}" / "bin" / "python"


NODE, WEB = Group("node", light=True), Group("web", light=True)


def install(groups: list[Group]) -> None:
    """Brings up the copy of the applications, then the groups one after the other."""
    shutil.copytree(HERE / "apps", APPS, dirs_exist_ok=True)
    for group in groups:
        started = time.monotonic()
        if install_node() if group == NODE else install_python(group):
            print(f"installed {group.name} in {time.monotonic() - started:.0f} s", flush=True)


def install_node() -> bool:
    wanted = (HERE / "apps" / "package-lock.json").read_text()
    mark = APPS / "node_modules" / ".installed"
    if mark.exists() and mark.read_text() == wanted:
        return False
    command(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=APPS)
    mark.write_text(wanted)
    return True


def install_python(group: Group) -> bool:
    requirements = HERE / "requirements" / f"{group.name}.txt"
    home = group.python.parents[1]
    mark = home / "installed.txt"
    if mark.exists() and mark.read_text() == requirements.read_text():
        return False
    command([sys.executable, "-m", "venv", "--clear", home])
    command([group.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements])
    mark.write_text(requirements.read_text())
    return True


def install_django() -> None:
    """The database of the admin, with its one user `admin`. Each audit begins with a copy of it."""
    if DATABASE.exists():
        return
    made = DATABASE.with_suffix(".new")
    made.unlink(missing_ok=True)
    settings = {"DJ_SECRET": "x", "DJ_DB": str(made), "DJANGO_SETTINGS_MODULE": "settings"}
    user = {name: f"DJANGO_SUPERUSER_{name}" for name in ("USERNAME", "PASSWORD", "EMAIL")}
    settings |= {user["USERNAME"]: "admin", user["PASSWORD"]: "pw-of-admin", user["EMAIL"]: "admin@example.org"}
    for words in (["migrate", "-v", "0"], ["createsuperuser", "--noinput", "-v", "0"]):
        command([WEB.python, "-m", "django", *words], cwd=APPS / "django_admin", env=os.environ | settings)
    made.rename(DATABASE)


@contextmanager
def copy_of_database():
    """The path of a database that one audit may write to.

    It lies in memory where there is such a folder: SQLite waits for the disk at each commit, which takes many seconds
    while something else writes a lot.
    """
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="audit-app-", dir=folder) as root:
        yield shutil.copy(DATABASE, root)


def command(words: list, **options) -> None:
    """Runs a command to its end; its last lines are shown if it fails."""
    if shutil.which(str(words[0])) is None:
        raise SetupError(f"{words[0]} is not installed")
    try:
        done = subprocess.run(
            [*POLITE, *map(str, words)], capture_output=True, text=True, timeout=LIMIT_S, check=False, **options
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"took more than {LIMIT_S} s: {' '.join(map(str, words))}") from None
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-20:]
        raise SetupError("\n  ".join([f"failed: {' '.join(map(str, words))}", *lines]))
