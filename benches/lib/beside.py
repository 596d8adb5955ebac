"""Whether something beside normal requests makes them slower: rounds without it and with it, in turn."""

from __future__ import annotations

from statistics import median
from typing import Callable


def compare(rounds: int, without: Callable[[], int], beside: Callable[[], int], names: tuple[str, str]) -> float:
    """The median of the ratios of p99 `beside` it to p99 `without` it.

    Each of the `rounds` goes without, with, without. The ratio of the last to the first is what chance does; its median
    is printed beside. Both functions return a p99 in microseconds.
    """
    ratios, chance = [], []
    first, second = names
    width = max(7, len(first), len(second))
    heads = " ".join(f"{name:>{width}}" for name in (first, second, first))
    print(f"{'round':>5}  {heads}  (p99 in us)  {'ratio':>6} {'chance':>6}")
    for number in range(1, rounds + 1):
        before, with_it, after = without(), beside(), without()
        ratios.append(with_it / ((before + after) / 2))
        chance.append(after / before)
        numbers = " ".join(f"{value:>{width}}" for value in (before, with_it, after))
        print(f"{number:>5}  {numbers}               {ratios[-1]:>6.2f} {chance[-1]:>6.2f}", flush=True)
    print(f"median ratio of p99: {median(ratios):.2f} ({first} against {first}: {median(chance):.2f})")
    return median(ratios)
