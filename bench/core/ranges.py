"""Ranges of numbers, written as one writes intervals: "(0, 1]" leaves 0 out and takes 1 in.

check_range("optimizer.lr", -1.0, "(0, inf)")
"""

from __future__ import annotations

from typing import Any


def inside(value: float, interval: str) -> bool:
    """Whether a number lies in an interval; NaN lies in none."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below


def check_range(key: str, value: Any, interval: str) -> None:
    """Raise ValueError unless a value is a number in the interval, or None."""
    if value is None:
        return
    if type(value) not in (int, float):
        raise ValueError(f"{key}={value} is not a number: choose one inside {interval}")
    if not inside(value, interval):
        raise ValueError(f"{key}={value} is outside {interval}: choose a value inside")
