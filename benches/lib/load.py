"""Load from wrk, and what it counted."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from .process import Children

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass
class Load:
    """One finished run. Latencies in microseconds. `status` counts responses of 400 and above; `bytes` are all of the
    responses from wrk, and those of their bodies from h2load."""

    requests: int
    microseconds: int
    bytes: int
    connect: int
    read: int
    write: int
    status: int
    timeout: int
    p50: int
    p90: int
    p99: int
    max: int

    @property
    def failed(self) -> int:
        return self.connect + self.read + self.write + self.status + self.timeout

    @property
    def per_second(self) -> float:
        return self.requests / (self.microseconds / 1e6)

    @property
    def failures(self) -> str:
        kinds = {kind: getattr(self, kind) for kind in ("connect", "read", "write", "status", "timeout")}
        return ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "none"

    def expect_clean(self, what: str) -> Load:
        """A run with a failed request, or with none at all, measures nothing."""
        if self.failed or not self.requests:
            raise RuntimeError(f"{what}: {self.requests} requests, failed: {self.failures}")
        return self


def start_wrk(
    children: Children,
    url: str,
    seconds: int,
    connections: int,
    core: int | None = None,
    pause_ms: int = 0,
    late_s: int = 2,
    headers: tuple[str, ...] = (),
    addresses_from: int | None = None,
    more: dict[str, int] | None = None,
    nice: int = 0,
) -> subprocess.Popen:
    """One thread of wrk for `seconds`; every connection rests `pause_ms` on average between two requests.

    A response later than `late_s` counts as a `timeout`. With `addresses_from` each request names another client, from
    this number on. `more` are variables for wrk.lua.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={late_s}s", "-s", SCRIPT, url]
    command[1:1] = [word for header in headers for word in ("-H", header)]
    environment = {**os.environ, "WRK_PAUSE_MS": str(pause_ms)}
    environment |= {name: str(value) for name, value in (more or {}).items()}
    if addresses_from is not None:
        environment["WRK_ADDRESSES_FROM"] = str(addresses_from)
    pipe = subprocess.PIPE
    return children.start(command, core, nice=nice, stdout=pipe, stderr=pipe, text=True, env=environment)


def finish_wrk(children: Children, wrk: subprocess.Popen, seconds: int) -> Load:
    """Waits for the end of the run and reads its one line of JSON."""
    try:
        out, err = wrk.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise RuntimeError("wrk did not end") from None
    finally:
        children.stop(wrk)
    lines = [line for line in out.splitlines() if line.startswith("WRK ")]
    if wrk.returncode or len(lines) != 1:
        raise RuntimeError(f"wrk ended with {wrk.returncode}: {(out + err).strip()}")
    return Load(**json.loads(lines[0][4:]))


def run_wrk(
    children: Children,
    url: str,
    seconds: int,
    connections: int,
    core: int | None = None,
    pause_ms: int = 0,
    headers: tuple[str, ...] = (),
    addresses_from: int | None = None,
    more: dict[str, int] | None = None,
) -> Load:
    """`start_wrk` and `finish_wrk`."""
    wrk = start_wrk(
        children, url, seconds, connections, core, pause_ms, headers=headers, addresses_from=addresses_from, more=more
    )
    return finish_wrk(children, wrk, seconds)


def run_h2load(
    children: Children,
    url: str,
    seconds: int,
    connections: int,
    streams: int,
    core: int | None = None,
    more: Sequence[str | Path] = (),
) -> Load:
    """One thread of h2load for `seconds`: HTTP/2, `streams` requests at once on each connection."""
    command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}", *more, url]
    h2load = children.start(command, core, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        out, _ = h2load.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise RuntimeError("h2load did not end") from None
    finally:
        children.stop(h2load)
    found = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    if h2load.returncode or not found:
        raise RuntimeError(f"h2load ended with {h2load.returncode}: {out.strip()[-500:]}")
    succeeded, failed, errored, timeout = map(int, found.groups())
    data = re.search(r"\((\d+)\) data", out)
    codes = re.search(r"status codes: (\d+) 2xx", out)
    status = succeeded - int(codes.group(1)) if codes else succeeded
    return Load(
        requests=succeeded,
        microseconds=seconds * 1_000_000,
        bytes=int(data.group(1)) if data else 0,
        connect=0,
        read=errored,
        write=0,
        status=failed + max(status, 0),
        timeout=timeout,
        p50=0,
        p90=0,
        p99=0,
        max=0,
    )
