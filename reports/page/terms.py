"""The glossary of a page: what its words mean, for tooltips at their first use and at its end.

terms_in("REPA is told from Vanilla")     # those of terms.yaml that a text uses
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import yaml


@functools.cache
def terms() -> Mapping[str, str]:
    """{word: what it means}."""
    return yaml.safe_load(Path(__file__).with_name("terms.yaml").read_text(encoding="utf-8"))


def terms_in(text: str) -> dict[str, str]:
    """The terms that a text uses, in the order of the glossary."""
    return {
        term: meaning
        for term, meaning in terms().items()
        if re.search(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])", text)
    }
