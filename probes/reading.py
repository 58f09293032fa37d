"""Text rendering: does a sample say the word that was asked for? Words that training never saw.

    word_accuracy = share of samples that are read as their word
    character_accuracy = mean of 1 - edit distance / letters of the longer one (AnyText's NED,
                         arXiv 2311.03054)

Spaces and case do not count. `real` is the same of drawings of the same words, by the same reader:
what no model can be expected to exceed by much.

    python -m bench.run data=words
    python -m bench.evaluate run=DIR metrics=word_accuracy samples=300 reader=rapidocr
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bench.core.data.base import pictures_of
from bench.core.data.words import Words
from bench.core.numbers import standard_error
from bench.core.store.rows import Row
from probes.extractors.reader import READERS, TextReader, reader_of, seconds_to_reader
from probes.metric import (
    DATA,
    OF_DATA,
    OF_EXTRACTOR,
    OF_SAMPLES,
    TOKENS,
    Inputs,
    Metric,
    Record,
    dropped_note,
    related,
)

SAME = "without spaces and case"
_OF_ALL = {**OF_EXTRACTOR, **OF_SAMPLES, **OF_DATA}
WORD_ACCURACY = Record("word_accuracy", version=1, equal=SAME, **_OF_ALL)
CHARACTER_ACCURACY = Record(
    "character_accuracy",
    version=1,
    equal=SAME,
    share="1 - edit distance / letters of the longer text, mean over samples",
    **_OF_ALL,
)


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions and replacements that make one text the other (Levenshtein)."""
    before = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        now = [i]
        for j, other in enumerate(b, start=1):
            now.append(min(before[j] + 1, now[-1] + 1, before[j - 1] + (letter != other)))
        before = now
    return before[-1]


def accuracies(read: Sequence[str], asked: Sequence[str]) -> tuple[float, float]:
    """(word, character) accuracy of texts that were read where others were asked for."""
    pairs = [
        tuple("".join(text.split()).casefold() for text in pair)
        for pair in zip(read, asked, strict=True)
    ]
    words = sum(a == b for a, b in pairs) / len(pairs)
    letters = (1 - edit_distance(a, b) / max(len(a), len(b), 1) for a, b in pairs)
    return words, sum(letters) / len(pairs)


def _words(metric: str, inputs: Inputs) -> Words:
    data = inputs.data_here
    if not isinstance(data, Words):
        raise ValueError(
            f"metrics={metric} reads words, and the pictures of {data.name} are none: choose "
            "data=words"
        )
    return data


class Reading(Metric):
    """word_accuracy and character_accuracy."""

    needs = (TOKENS, DATA)
    records = (WORD_ACCURACY, CHARACTER_ACCURACY)
    trains = ("a reader of {data}", "extractors/reader-{data}-*")
    _reader: TextReader | None = None
    _other = ""  # than the local reader

    @property
    def reading(self) -> str:
        return self._other

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        data, name = _words(self.name, inputs), str(inputs.settings.get("reader", READERS[0]))
        self._other = "" if name == READERS[0] else name
        if self._other:  # the local one is trained when it is needed
            self._reader = reader_of(name, data, inputs.cache)
        return {}

    def seconds_to_prepare(self, inputs: Inputs) -> float:
        return 0.0 if self._other else seconds_to_reader(_words(self.name, inputs), inputs.cache)

    def measure(self, inputs: Inputs) -> list[Row]:
        data, samples = _words(self.name, inputs), inputs.samples
        reader = self._reader or reader_of(READERS[0], data, inputs.cache)
        self._reader = reader
        assert samples is not None and samples.tokens is not None and samples.asked is not None
        pixels = data.decode(samples.tokens, samples.sampling["decoder_precision"])
        pictures, finite = pictures_of(pixels, samples.sampling["rounding"])
        finite &= torch.isfinite(samples.tokens).flatten(1).all(dim=1)
        read = [
            text if whole else ""
            for text, whole in zip(reader.read(pictures), finite.tolist(), strict=True)
        ]
        texts = data.prompts.texts
        values = accuracies(read, [texts[i] for i in samples.asked.tolist()])

        # the same words, drawn
        real = accuracies(reader.read(data.images("heldout")), data.texts["heldout"])

        n, dropped = len(read), int((~finite).sum())
        known: dict[str, Any] = {
            "sampling": dict(samples.sampling),
            "n": n,
            "data": data.fingerprint,
            "extractor": reader.name,
            "extractor_weights": reader.fingerprint,
        }
        return [
            record.row(
                record.name,
                value,
                n,
                known,
                stderr=standard_error(value, n) if record is WORD_ACCURACY else None,
                real=of_real,
                related=related(reader, inputs.aligned),
                note=dropped_note(dropped, n),
                details={"not_finite": dropped, "n_real": len(texts)},
            )
            for record, value, of_real in zip(self.records, values, real, strict=True)
        ]
