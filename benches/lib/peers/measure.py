"""Rounds: each product in turn, the order reversed each time, and what the scheduler counted meanwhile."""

from __future__ import annotations

import resource
import tempfile
from dataclasses import asdict, dataclass
from dataclasses import field as fields
from pathlib import Path
from typing import Any, Callable, Iterator

from ..process import Children, cpu_ns, cpu_spent_ns, memory_kib, waited_ns, waited_since_ns
from .cells import Cell
from .idle import idle_kib
from .loads import FIXED_CONNECTIONS, Wrk, fixed_rate
from .products import Missing, Product, oha_program
from .setup import SETUPS
from .start import Field, Peer, start

SATURATED = 0.85  # the share of a core that must be in use, by the product or by its load with the replicas
PROBE_S = 2  # of the load that finds out what a product can take
Products = list[tuple[str, Product]]


@dataclass
class Round:
    """One product, once."""

    number: int
    values: dict[str, float] = fields(default_factory=dict)
    per_second: float = 0.0
    waited: float = 0.0  # how long the product was ready but had to wait for its core, as a share of the round
    busy: float = 0.0  # its CPU time as a share of the round
    load_busy: float = 0.0  # that of the load and the replicas, which share a core
    dropped: str = ""  # why it does not count


@dataclass
class Measured:
    """All rounds of a cell."""

    cell: Cell
    rounds: dict[str, list[Round]] = fields(default_factory=dict)
    left_out: dict[str, str] = fields(default_factory=dict)
    failed: dict[str, str] = fields(default_factory=dict)
    note: str = ""

    def values(self, name: str, metric: str) -> dict[int, float]:
        """Round number -> value, of the rounds that count."""
        found = {round_.number: round_ for round_ in self.rounds.get(name, []) if not round_.dropped}
        return {number: round_.values[metric] for number, round_ in found.items() if metric in round_.values}

    def as_json(self) -> dict:
        rounds = {name: [asdict(round_) for round_ in rounds] for name, rounds in self.rounds.items()}
        return {"cell": self.cell.name, "rounds": rounds, "left_out": self.left_out, "failed": self.failed}


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: int
    idle: int
    cores: tuple[int, int]


def measure(cells: list[Cell], products: Products, plan: Plan) -> Iterator[Measured]:
    """Measures the cells, those of a setup together, and yields each when it is done."""
    for setup in dict.fromkeys(cell.setup for cell in cells):
        with tempfile.TemporaryDirectory(prefix="unstick-peers-") as folder, Children() as children:
            running = start(children, Path(folder), SETUPS[setup], products, plan.cores)
            for name, reason in running.left_out.items():
                say(f"{setup}: {name} is left out: {reason}")
            for cell in cells:
                if cell.setup == setup:
                    yield measure_cell(running, cell, plan)


def measure_cell(running: Field, cell: Cell, plan: Plan) -> Measured:
    measured = Measured(cell, left_out=dict(running.left_out))
    peers = [peer for peer in running.peers if cell.is_plain_http1 or not peer.product.http1_only]
    say(f"{cell.name}: {cell.what}")
    if cell.kind == "memory":
        measure_memory(measured, peers, plan)
    elif cell.kind == "latency":
        measure_latency(measured, running, peers, plan)
    else:
        warm_up(measured, running, peers, plan)
        for number in range(1, plan.rounds + 1):
            alive = [peer for peer in peers if peer.name not in measured.failed]
            for peer in alive if number % 2 else reversed(alive):
                attempt(measured, peer, cpu_round, running, cell, peer, number, plan.seconds)
            progress(measured, number)
    return measured


def attempt(measured: Measured, peer: Peer, measure_it: Callable[..., Round], *what: Any) -> None:
    """A product that fails is not measured any further in this cell, and that is said."""
    try:
        measured.rounds.setdefault(peer.name, []).append(measure_it(*what))
    except (RuntimeError, TimeoutError, OSError, ValueError, KeyError) as error:
        measured.failed[peer.name] = " | ".join(line for line in str(error).splitlines() if line.strip())[-300:]
        say(f"  {peer.name} failed: {measured.failed[peer.name]}")


def warm_up(measured: Measured, running: Field, peers: list[Peer], plan: Plan) -> None:
    """A round that does not count, but must be clean."""
    for peer in peers:
        attempt(measured, peer, cpu_round, running, measured.cell, peer, 0, min(2, plan.seconds))
    measured.rounds.clear()


def cpu_round(running: Field, cell: Cell, peer: Peer, number: int, seconds: int) -> Round:
    """CPU microseconds per unit of `peer` under load."""
    assert cell.load is not None
    before, waited = cpu_ns(peer.pid), waited_ns(peer.pid)
    replicas = {replica.pid: cpu_ns(replica.pid) for replica in running.replicas}
    children = children_ns()
    count = cell.load(running, peer, seconds)
    spent, length = cpu_spent_ns(peer.pid, before), count.seconds * 1e9
    load = children_ns() - children + sum(cpu_spent_ns(pid, then) for pid, then in replicas.items())
    if not count.units:
        raise RuntimeError("nothing got through")
    found = Round(number, {"cpu": spent / count.units / 1000}, count.units / count.seconds)
    found.waited, found.busy = waited_since_ns(peer.pid, waited) / length, spent / length
    found.load_busy = load / length
    if cell.saturates and max(found.busy + found.waited, found.load_busy) < SATURATED:
        found.dropped = f"the load did not saturate: {found.busy:.0%} of the core, {found.load_busy:.0%} of the other"
    return found


def children_ns() -> int:
    """CPU time of the generators of load that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)


def measure_memory(measured: Measured, peers: list[Peer], plan: Plan) -> None:
    """Once: what a process has got from the system for connections it keeps for the next ones."""
    kind = {"idle": "plain", "idle-tls": "tls", "idle-h2": "h2"}[measured.cell.name]
    for peer in peers:
        attempt(measured, peer, memory_round, peer, kind, plan.idle)
    progress(measured, 1)


def memory_round(peer: Peer, kind: str, count: int) -> Round:
    start_kib = memory_kib(peer.pid)
    return Round(1, {"memory": idle_kib(peer, kind, count), "start": start_kib})


def measure_latency(measured: Measured, running: Field, peers: list[Peer], plan: Plan) -> None:
    """At half of what the slowest can take; what the same load takes without a product is subtracted."""
    try:
        oha = oha_program()
    except Missing as missing:
        measured.note = f"left out: {missing}"
        say(f"  {measured.note}")
        return
    per_second, slowest = half_of_the_slowest(running, peers)
    measured.note = f"{per_second} requests/s, half of what {slowest} takes"
    say(f"  {measured.note}")
    for number in range(1, plan.rounds + 1):
        try:
            direct = fixed_rate(running, oha, running.replicas[0].url(), per_second, plan.seconds)
        except RuntimeError as error:
            say(f"  round {number} is left out: without a product: {error}")
            continue
        alive = [peer for peer in peers if peer.name not in measured.failed]
        for peer in alive if number % 2 else reversed(alive):
            attempt(measured, peer, latency_round, running, oha, peer, number, per_second, plan.seconds, direct)
        progress(measured, number)


def half_of_the_slowest(running: Field, peers: list[Peer]) -> tuple[int, str]:
    """Half of the requests per second that the slowest takes, and its name."""
    rates = {}
    for peer in peers:
        count = Wrk("plain", "/", FIXED_CONNECTIONS)(running, peer, PROBE_S)
        rates[peer.name] = count.units / count.seconds
    slowest = min(rates, key=lambda name: rates[name])
    return int(rates[slowest] / 2), slowest


def latency_round(
    running: Field, oha: Path, peer: Peer, number: int, per_second: int, seconds: int, direct: dict[str, float]
) -> Round:
    """What `peer` adds to each percentile."""
    waited = waited_ns(peer.pid)
    found = fixed_rate(running, oha, peer.url("plain", "/"), per_second, seconds)
    added = {name: value - direct[name] for name, value in found.items()}
    return Round(number, added, per_second, waited_since_ns(peer.pid, waited) / seconds / 1e9)


def progress(measured: Measured, number: int) -> None:
    parts = []
    for name, rounds in measured.rounds.items():
        if rounds and rounds[-1].number == number:
            last = rounds[-1]
            value = "dropped" if last.dropped else f"{last.values[measured.cell.metrics[0]]:.1f}"
            parts.append(f"{name} {value}")
    say(f"  {number:>2}: " + ", ".join(parts))


def say(text: str) -> None:
    print(text, flush=True)
