"""Vanilla flow matching: SiT, arXiv 2401.08740. One time a sample, the velocity term alone.

python -m bench.run method=vanilla
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.model.method import Method


@dataclass
class Vanilla(Method):
    """The base method under its own name: no encoder, no teacher, no head, and it pays for none."""

    name: str
