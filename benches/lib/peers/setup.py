"""What all products of a run have in common, whatever the language of their configs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..process import free_port

IDLE_UPSTREAMS = 1024  # unused connections to replicas that each product may keep
MAX_CONNECTIONS = 8000  # of clients
ROUTES = 1000  # of the setup with many
ENDPOINTS = 200  # of the setup with many


@dataclass(frozen=True)
class Setup:
    """One way in which all products are configured."""

    name: str
    endpoints: int = 2
    least_connections: bool = False
    routes: int = 0  # this many prefixes /r/0/, /r/1/ and so on, beside everything else
    access_log: bool = False
    grpc: bool = False  # replicas speak HTTP/2 in plain text
    echo: bool = False  # one replica, which echoes messages and answers no probe


SETUPS = {
    setup.name: setup
    for setup in (
        Setup("plain"),
        Setup("logged", access_log=True),
        Setup("endpoints", endpoints=ENDPOINTS, least_connections=True),
        Setup("routes", routes=ROUTES),
        Setup("grpc", grpc=True),
        Setup("grpc-echo", endpoints=1, grpc=True, echo=True),
        Setup("websocket", endpoints=1, echo=True),
        # Memory is measured with processes that have served nothing else.
        Setup("idle-plain"),
        Setup("idle-tls"),
        Setup("idle-h2"),
    )
}


@dataclass
class Place:
    """Where one product of a setup listens, and where its files are."""

    folder: Path
    certificate: Path  # the certificate and its key in one file
    upstreams: list[str]
    plain: int = field(default_factory=free_port)  # HTTP/1.1
    tls: int = field(default_factory=free_port)  # HTTP/1.1 and HTTP/2 in TLS
    h2c: int = field(default_factory=free_port)  # HTTP/2 in plain text
    admin: int = field(default_factory=free_port)

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"
