"""What the rounds say: ratios with their intervals, the noise, and the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median

from ..stats import median_interval
from .cells import MEMORY_SLACK_KIB
from .measure import Measured

SUBJECT, TWIN, OLD, FLOOR = "unstick", "unstick-twin", "old", "floor"
OURS = (SUBJECT, TWIN, OLD, FLOOR, "floor-ring")
ROUNDS_MIN = 5  # fewer say nothing
WAITED_MAX = 0.05  # above it other work on the machine disturbed the run


@dataclass
class Ratio:
    """Of two products in the same rounds, with its 95 % interval."""

    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        if self.rounds == 1:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass
class Row:
    """One line of the table."""

    cell: str
    what: str
    unit: str
    bar: float | None
    medians: dict[str, float]
    dropped: dict[str, int]
    waited: dict[str, float]
    busy: dict[str, float]
    best: str = ""
    over_best: Ratio | None = None
    over_floor: Ratio | None = None
    over_old: Ratio | None = None
    noise: float | None = None  # how far the ratio of a product to its twin may stray by chance
    verdict: str = ""

    @property
    def missed(self) -> bool:
        return self.verdict.startswith("missed")


def ratio(measured: Measured, metric: str, one: str, other: str) -> Ratio | None:
    """The median over the rounds in which both count. What adds less than nothing adds nothing."""
    a, b = measured.values(one, metric), measured.values(other, metric)
    ratios = [max(a[number], 0) / b[number] for number in sorted(a.keys() & b.keys()) if b[number] > 0]
    if not ratios:
        return None
    return Ratio(median(ratios), *median_interval(ratios), len(ratios))


def rows(measured: Measured) -> list[Row]:
    return [row(measured, metric) for metric in measured.cell.metrics]


def row(measured: Measured, metric: str) -> Row:
    cell, rounds = measured.cell, measured.rounds
    suffix = f" {metric}" if len(cell.metrics) > 1 else ""
    found = {name: list(measured.values(name, metric).values()) for name in rounds}
    medians = {name: median(values) for name, values in found.items() if values}
    result = Row(
        cell.name + suffix.replace(" ", "-"),
        cell.what + suffix,
        cell.unit,
        cell.bar,
        medians,
        {name: dropped for name, each in rounds.items() if (dropped := sum(bool(round_.dropped) for round_ in each))},
        {name: median(round_.waited for round_ in each) for name, each in rounds.items() if each},
        {name: median(round_.busy for round_ in each) for name, each in rounds.items() if each},
    )
    result.over_floor = ratio(measured, metric, SUBJECT, FLOOR)
    result.over_old = ratio(measured, metric, SUBJECT, OLD)
    twin = ratio(measured, metric, TWIN, SUBJECT)
    result.noise = max(abs(twin.high - 1), abs(1 - twin.low)) if twin else None
    peers = [name for name in medians if name not in OURS]
    if SUBJECT not in medians or not peers:
        result.verdict = "no peer" if SUBJECT in medians else "not measured"
        return result
    result.best = min(peers, key=lambda name: medians[name])
    result.over_best = ratio(measured, metric, SUBJECT, result.best)
    result.verdict = verdict(result, cell.kind == "memory")
    missing = [name for name in rounds if name not in medians and name not in OURS]
    if missing:
        result.verdict += f" (without {', '.join(missing)})"
    return result


def verdict(row_: Row, is_memory: bool) -> str:
    """Whether the bar is met, and whether there is a difference at all."""
    if row_.over_best is None:
        return "not measured"
    if is_memory:
        more = row_.medians[SUBJECT] - row_.medians[row_.best]
        return f"{'met' if more <= MEMORY_SLACK_KIB else 'missed'} ({more:+.1f} KiB)"
    if row_.over_best.rounds < ROUNDS_MIN:
        return "too few rounds"
    is_noise = row_.noise is not None and abs(row_.over_best.median - 1) <= row_.noise
    is_noise |= row_.over_best.low <= 1 <= row_.over_best.high
    word = "no effect" if is_noise else "cheaper" if row_.over_best.median < 1 else "dearer"
    if row_.bar is None:
        return word
    return f"{'met' if row_.over_best.median <= row_.bar else 'missed'}, {word}"


def lines(cells: list[list[str]]) -> list[str]:
    """A table of Markdown, the columns aligned."""
    widths = [max(len(cells[row_][column]) for row_ in range(len(cells))) for column in range(len(cells[0]))]
    padded = ["| " + " | ".join(text.ljust(width) for text, width in zip(each, widths)) + " |" for each in cells]
    return [padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]]


def table(all_rows: list[Row]) -> str:
    """Two tables: how unstick compares, and what each product took."""
    with_old = any(each.over_old for each in all_rows)
    head = ["cell", "best peer", "over it (95 %)", "noise", "bar", "verdict", "over the floor", "waited"]
    compared = [head + ["over the old"] * with_old]
    for each in all_rows:
        noise = "-" if each.noise is None else f"+-{each.noise:.2f}"
        bar = f"+{MEMORY_SLACK_KIB:g} KiB" if each.unit == "KiB" else "-" if each.bar is None else f"{each.bar:.2f}"
        waited = f"{each.waited.get(SUBJECT, 0):.0%}"
        compared.append(
            [each.what, each.best or "-", str(each.over_best or "-"), noise, bar, each.verdict]
            + [str(each.over_floor or "-"), waited]
            + [str(each.over_old or "-")] * with_old
        )
    names = list(dict.fromkeys(name for each in all_rows for name in each.medians))
    taken = [["cell", "unit", *names]]
    for each in all_rows:
        taken.append([each.what, each.unit, *(figure(each, name) for name in names)])
    return "\n".join([*lines(compared), "", *lines(taken)])


def figure(row_: Row, name: str) -> str:
    if name not in row_.medians:
        return f"dropped x {row_.dropped[name]}" if name in row_.dropped else "-"
    value = row_.medians[name]
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:.{digits}f}" + (f" (-{row_.dropped[name]})" if name in row_.dropped else "")


def warnings(all_rows: list[Row]) -> list[str]:
    """What makes the figures doubtful."""
    found = []
    shares = [(share, each.cell, name) for each in all_rows for name, share in each.waited.items()]
    disturbed = max(shares, default=(0.0, "", ""))
    if disturbed[0] > WAITED_MAX:
        share, cell, name = disturbed
        found.append(f"other work disturbed the run: {name} waited {share:.0%} of its rounds for its core in {cell}")
    for each in all_rows:
        if each.dropped:
            names = ", ".join(f"{name} {count}" for name, count in each.dropped.items())
            found.append(f"{each.cell}: rounds dropped because the load did not saturate: {names}")
    return found


def as_json(all_rows: list[Row]) -> list[dict]:
    return [asdict(each) for each in all_rows]
