"""The cells: what is measured, with which setup, and how it must compare with the best peer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Literal

from .loads import Count, Echo, H2load, Handshakes, Wrk
from .setup import ROUTES
from .start import GRPC_MESSAGES, Field, Peer

MEMORY_SLACK_KIB = 1.0  # by which an idle connection may take more than at the best peer
PERCENTILES = ("p50", "p99", "p99.9")
Kind = Literal["cpu", "memory", "latency"]


@dataclass(frozen=True)
class Cell:
    """One row of the table, or three where latencies are measured."""

    name: str
    what: str
    setup: str
    load: Callable[[Field, Peer, int], Count] | None = None
    bar: float | None = None  # the most that the ratio over the best peer may be
    unit: str = "us/request"
    saturates: bool = True  # whether the load keeps the product or the core beside it busy
    kind: Kind = "cpu"

    @property
    def metrics(self) -> tuple[str, ...]:
        return PERCENTILES if self.kind == "latency" else (self.kind,)

    @property
    def is_plain_http1(self) -> bool:
        """Whether the floor can do it."""
        if self.load is None:
            return self.kind == "latency" or self.setup == "idle-plain"
        return isinstance(self.load, Wrk) and self.load.kind == "plain"


CELLS = (
    Cell("h1-64", "h1 129 B, 64 connections", "plain", Wrk("plain", "/", 64), 0.85),
    Cell("h1-1", "h1 129 B, 1 connection", "plain", Wrk("plain", "/", 1), saturates=False),
    Cell("h1-1000", "h1 129 B, 1,000 connections", "plain", Wrk("plain", "/", 1000), 0.85),
    Cell("h1-64k", "h1 64 KiB", "plain", Wrk("plain", "/64k", 32), 0.80),
    Cell("h1-1m", "h1 1 MiB", "plain", Wrk("plain", "/1m", 16), 0.55),
    Cell("post-16k", "h1 POST 16 KiB", "plain", Wrk("plain", "/", 64, post=16_384)),
    Cell("tls-h1", "TLS h1 129 B", "plain", Wrk("tls", "/", 64), 0.80),
    Cell("tls-h1-64k", "TLS h1 64 KiB", "plain", Wrk("tls", "/64k", 32), 0.85),
    Cell("h2", "TLS h2 129 B, 16 x 8", "plain", H2load("tls", "/", 16, 8), 0.95),
    Cell("h2-100", "TLS h2 129 B, 1 x 100", "plain", H2load("tls", "/", 1, 100), 0.95),
    Cell("h2-1m", "TLS h2 1 MiB, 4 x 4", "plain", H2load("tls", "/1m", 4, 4), 0.85),
    Cell("h2c", "h2c 129 B, 16 x 8", "plain", H2load("h2c", "/", 16, 8), 0.95),
    Cell("handshake", "TLS handshakes, full", "plain", Handshakes(False), 0.50, "us/connection"),
    Cell("resumed", "TLS handshakes, resumed", "plain", Handshakes(True), 0.80, "us/connection"),
    Cell("grpc", "gRPC unary, 16 x 8", "grpc", H2load("h2c", "/unary.grpc", 16, 8, grpc=1), 0.95),
    Cell(
        "grpc-many",
        f"gRPC {GRPC_MESSAGES:,} messages at once, 4 x 4",
        "grpc",
        H2load("h2c", "/stream.grpc", 4, 4, grpc=GRPC_MESSAGES),
        unit="us/message",
    ),
    Cell("grpc-streams", "gRPC echo, 16 x 4", "grpc-echo", Echo("grpc", 16, 4), unit="us/message", saturates=False),
    Cell("websocket", "WebSocket echo, 64", "websocket", Echo("websocket", 64), unit="us/message", saturates=False),
    Cell("endpoints", "h1 129 B, 200 backends, least connections", "endpoints", Wrk("plain", "/", 64)),
    Cell("routes", f"h1 129 B, {ROUTES:,} routes", "routes", Wrk("plain", "/", 64, routes=ROUTES)),
    Cell("logged", "h1 129 B, access log on", "logged", Wrk("plain", "/", 64), 0.90),
    Cell("latency", "h1 129 B at a fixed rate, added", "plain", bar=1.0, unit="us", kind="latency"),
    Cell("idle", "idle connection, plain", "idle-plain", unit="KiB", kind="memory"),
    Cell("idle-tls", "idle connection, TLS h1", "idle-tls", unit="KiB", kind="memory"),
    Cell("idle-h2", "idle connection, TLS h2", "idle-h2", unit="KiB", kind="memory"),
)
