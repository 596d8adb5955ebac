"""The statistics that the scripts need."""

from __future__ import annotations

import random
from statistics import median


def median_interval(values: list[float], resamples: int = 5000) -> tuple[float, float]:
    """95 % bootstrap interval of the median; the seed is fixed, so the same rounds give the same interval."""
    dice = random.Random(1)
    medians = sorted(median(dice.choices(values, k=len(values))) for _ in range(resamples))
    return medians[int(resamples * 0.025)], medians[int(resamples * 0.975)]
