"""The loads: what is sent through a product for some seconds, counted and checked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from ..load import Load, run_h2load, run_wrk
from ..process import ROOT, Children
from ..servers import SMALL_BODY
from .start import GRPC_MESSAGE, Field, Peer, check_body

HEAD_SLACK = 16  # bytes by which heads of one product may differ
HANDSHAKERS = 8  # processes, each with one connection at a time
FIXED_CONNECTIONS = 64
BODIES = {"/": SMALL_BODY.encode(), "/64k": bytes(1 << 16), "/1m": bytes(1 << 20)}


@dataclass
class Count:
    """What got through: requests, connections or messages."""

    units: int
    seconds: float


def from_load(load: Load, per_request: int = 1) -> Count:
    return Count(load.requests * per_request, load.microseconds / 1e6)


@dataclass(frozen=True)
class Wrk:
    """HTTP/1.1 on kept connections."""

    kind: str
    path: str
    connections: int
    post: int = 0
    routes: int = 0

    def __call__(self, field: Field, peer: Peer, seconds: int) -> Count:
        """One response is compared byte by byte, the others by their status and their length."""
        path = f"/r/{self.routes - 1}/" if self.routes else self.path
        body = BODIES.get(path, BODIES["/"])
        length = check_body(peer, self.kind, path, body, self.post)
        more = {name: value for name, value in (("WRK_POST", self.post), ("WRK_ROUTES", self.routes)) if value}
        url = peer.url(self.kind, self.path)
        load = run_wrk(field.children, url, seconds, self.connections, field.load_core, more=more)
        load.expect_clean(peer.name)
        least = load.requests * (length - HEAD_SLACK)
        most = (load.requests + self.connections) * (length + HEAD_SLACK)
        if not least <= load.bytes <= most:
            raise RuntimeError(f"{peer.name}: {load.requests} responses of {length} bytes were {load.bytes} bytes")
        return from_load(load)


@dataclass(frozen=True)
class H2load:
    """HTTP/2 with several requests at once on each connection."""

    kind: str
    path: str
    connections: int
    streams: int
    grpc: int = 0  # messages of each call

    def __call__(self, field: Field, peer: Peer, seconds: int) -> Count:
        more: Sequence[str | Path] = ()
        body = BODIES.get(self.path, b"")
        if self.grpc:
            message = field.folder / "message"
            message.write_bytes(GRPC_MESSAGE)
            body = GRPC_MESSAGE * self.grpc
            check_grpc(peer, self.path, message)
            more = ["-d", message, "-H", "content-type: application/grpc", "-H", "te: trailers"]
        else:
            check_body(peer, "tls", self.path, body)
        url = peer.url(self.kind, self.path)
        load = run_h2load(field.children, url, seconds, self.connections, self.streams, field.load_core, more)
        load.expect_clean(peer.name)
        under_way = self.connections * self.streams
        if not load.requests * len(body) <= load.bytes <= (load.requests + under_way) * len(body):
            raise RuntimeError(f"{peer.name}: {load.requests} bodies of {len(body)} bytes were {load.bytes} bytes")
        return from_load(load, self.grpc or 1)


def check_grpc(peer: Peer, path: str, message: Path) -> None:
    """One call must end with its status in the trailers."""
    fields: list[str | Path] = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", message]
    words: list[str | Path] = ["nghttp", "-v", "-n", *fields, peer.url("h2c", path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    if not re.search(r"grpc-status: 0\s", done.stdout):
        raise RuntimeError(f"{peer.name}: {path} ended without its status: {done.stdout[-300:]}")


@dataclass(frozen=True)
class Handshakes:
    """New connections, each with one request over HTTP/1.0."""

    resumed: bool

    def __call__(self, field: Field, peer: Peer, seconds: int) -> Count:
        words = ["openssl", "s_time", "-connect", f"127.0.0.1:{peer.place.tls}", "-www", "/", "-time", seconds]
        words.append("-reuse" if self.resumed else "-new")
        began = time.monotonic()
        running = [begin(field, words) for _ in range(HANDSHAKERS)]
        count = 0
        for process in running:
            count += self.counted(peer, finish(field.children, process, seconds))
        return Count(count, time.monotonic() - began)

    def counted(self, peer: Peer, out: str) -> int:
        """It prints `r` for each session that was resumed, another sign for each that is new."""
        found = re.search(r"(\d+) connections in (\d+) real seconds, (\d+) bytes read per connection", out)
        signs = re.search(r"^[rt*]+$", out, re.MULTILINE)
        if not found or not signs or not int(found[1]):
            raise RuntimeError(f"{peer.name}: no handshakes: {out[-300:]}")
        full = len(signs[0].replace("r", ""))
        if int(found[3]) <= len(SMALL_BODY) or (full > 1 if self.resumed else "r" in signs[0]):
            raise RuntimeError(f"{peer.name}: {full} of {len(signs[0])} handshakes were full: {found[0]}")
        return int(found[1])


@dataclass(frozen=True)
class Echo:
    """Messages that come back, over WebSocket or in streams of gRPC."""

    kind: str
    connections: int
    streams: int = 1

    def __call__(self, field: Field, peer: Peer, seconds: int) -> Count:
        port = peer.place.h2c if self.kind == "grpc" else peer.place.plain
        words = [sys.executable, "-m", "lib.peers.echo", self.kind, port, self.connections, self.streams, seconds]
        found = json.loads(finish(field.children, begin(field, words), seconds))
        return Count(found["messages"], found["seconds"])


def begin(field: Field, words: list) -> subprocess.Popen:
    """Starts a generator of load on its core; the modules of ours are found from `benches`."""
    return field.children.start(
        words, field.load_core, cwd=ROOT / "benches", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(children: Children, process: subprocess.Popen, seconds: int) -> str:
    try:
        out, _ = process.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise RuntimeError("the load did not end") from None
    finally:
        children.stop(process)
    if process.returncode:
        raise RuntimeError(f"the load ended with {process.returncode}: {out.strip()[-300:]}")
    return out


def fixed_rate(field: Field, oha: Path, url: str, per_second: int, seconds: int) -> dict[str, float]:
    """Microseconds within which 50, 99 and 99.9 % of the responses came, from when each request was due."""
    options = ["-z", f"{seconds}s", "-c", FIXED_CONNECTIONS, "-q", per_second, "--latency-correction", "-w"]
    words = [oha, "--no-tui", "--output-format", "json", *options, url]
    found = json.loads(finish(field.children, begin(field, words), seconds))
    statuses, errors = found["statusCodeDistribution"], found["errorDistribution"]
    if set(statuses) != {"200"} or errors:
        raise RuntimeError(f"{url}: {statuses}, {errors}")
    if statuses["200"] < 0.9 * per_second * seconds:
        raise RuntimeError(f"{url}: {statuses['200']} responses are not {per_second} per second")
    percentiles = found["latencyPercentiles"]
    return {name: 1e6 * percentiles[name] for name in ("p50", "p99", "p99.9")}
