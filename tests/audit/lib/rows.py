"""The table of applications: how each is started, and what was measured. README.md beside run.py has it in words."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from .installs import NODE, WEB, Group

KEY = "one-key-for-all-replicas"
JOURNEYS = Path(__file__).resolve().parents[1] / "journeys"
SETTINGS = f"DJ_SECRET={KEY} DJ_DB=DATABASE DJANGO_SETTINGS_MODULE=settings"
DJANGO = f"cd django_admin && {SETTINGS} PYTHON -m django runserver --noreload {{port}}"


@dataclass(frozen=True)
class Expected:
    """What `unstick audit` must say: a verdict, and the class of the cause if there is a dependence."""

    verdict: str
    cause: str | None = None

    def __str__(self) -> str:
        return f"{self.verdict} ({self.cause})" if self.cause else self.verdict


CLEAN = Expected("none_found")


def dependent(cause: str) -> Expected:
    return Expected("dependent", cause)


@dataclass(frozen=True)
class Row:
    """One set-up. `{port}`, `{dir}` and `{key}` are filled by whoever starts the replicas; PYTHON and DATABASE here."""

    number: int
    name: str
    group: Group
    command: str
    expected: dict[str, Expected]  # for `--disk own`, and for `shared` if that differs

    @property
    def journey(self) -> Path:
        return JOURNEYS / f"row-{self.number:02}.toml"

    @property
    def needs_database(self) -> bool:
        return "DATABASE" in self.command

    def spawn(self, database: Path) -> str:
        """The command as `--spawn` takes it."""
        command = self.command.replace("DATABASE", shlex.quote(str(database)))
        return command.replace("PYTHON", shlex.quote(str(self.group.python)))


MCP, GRADIO, DASH, NICEGUI = (Group(name) for name in ("fastmcp", "gradio", "dash", "nicegui"))

ROWS = [
    Row(1, "express-session, its default store", NODE, f"node express_app.js express-session {{port}} {KEY}",
        {"own": dependent("memory")}),
    Row(2, "cookie-session, one key", NODE, f"node express_app.js cookie-session {{port}} {KEY}",
        {"own": CLEAN}),
    Row(3, "Flask, key per process", WEB, "PYTHON flask_app.py cookie {port} {key} -",
        {"own": dependent("key_per_process")}),
    Row(4, "Flask-Session files, a folder each", WEB, f"PYTHON flask_app.py flask-session {{port}} {KEY} {{dir}}/s",
        {"own": dependent("local_disk")}),
    Row(5, "Starlette sessions, one key", WEB, f"PYTHON starlette_session.py {{port}} {KEY}",
        {"own": CLEAN}),
    Row(6, "Django admin, sessions in one SQLite file", WEB, DJANGO,
        {"own": CLEAN}),
    Row(7, "flask-limiter, its default store", WEB, "PYTHON flask_limit.py {port}",
        {"own": dependent("local_counter")}),
    Row(8, "gradio, call and result", GRADIO, "PYTHON gradio_hello.py {port}",
        {"own": dependent("memory")}),
    Row(9, "gradio, upload and read back", GRADIO, "PYTHON gradio_hello.py {port}",
        {"own": dependent("local_disk"), "shared": CLEAN}),
    Row(10, "Dash callback", DASH, "PYTHON dash_callback.py {port}",
        {"own": CLEAN}),
    Row(11, "fastmcp, as it comes", MCP, "PYTHON fastmcp_server.py {port} 0",
        {"own": dependent("protocol_session")}),
    Row(12, "fastmcp, stateless_http", MCP, "PYTHON fastmcp_server.py {port} 1",
        {"own": CLEAN}),
    Row(13, "socket.io, long-polling", NODE, "node socketio_server.js {port}",
        {"own": dependent("protocol_session")}),
    Row(14, "NiceGUI, page and its socket", NICEGUI, "PYTHON nicegui_page.py {port}",
        {"own": dependent("memory")}),
]  # fmt: skip
