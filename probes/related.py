"""Whether a metric's extractor favours an arm because it resembles the encoder
that the arm was aligned with.

A metric is marked *related* when its extractor shares architecture family and training data, or
labels, with that encoder; a probe is marked when the encoder was trained on the probed labels. Such
numbers are shown, with the mark.

    related(extractor, {"family": "vit", "trained_on": "LVD-142M", "labels": ""})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

KEYS = ("family", "trained_on", "labels")


def description(extractor: Any) -> dict[str, str]:
    """{"family", "trained_on", "labels"} of an object with those attributes or
    of a mapping with those keys.
    """
    if isinstance(extractor, Mapping):
        return {key: str(extractor.get(key) or "") for key in KEYS}
    return {key: str(getattr(extractor, key)) for key in KEYS}


def label_set(name: str) -> str:
    """One spelling for whose labels they are:
    "ImageNet-1k" and the data set "imagenet256" have the same ones.
    """
    plain = re.sub("[^a-z0-9]", "", name.lower())
    return "imagenet1k" if re.fullmatch("imagenet(1k|64|128|256|512)?", plain) else plain


def related(extractor: Any, aligned: Any) -> str:
    """Reason why `extractor` is related to the encoder `aligned` (None: not aligned),
    "" if it is not.
    """
    if aligned is None:
        return ""
    ours, theirs = description(extractor), description(aligned)
    if ours["labels"] and label_set(ours["labels"]) == label_set(theirs["labels"]):
        return f"extractor and aligned encoder both learned the labels of {ours['labels']}"
    same_family = ours["family"] and ours["family"] == theirs["family"]
    if same_family and ours["trained_on"] and ours["trained_on"] == theirs["trained_on"]:
        return (
            f"extractor and aligned encoder are both {ours['family']} trained on "
            f"{ours['trained_on']}"
        )
    return ""


def related_probe(labels: str, aligned: Any) -> str:
    """Reason why a probe of `labels` (a data set's name) is related to an encoder
    (None: not aligned), "" if not.
    """
    if (
        aligned is None
        or not labels
        or label_set(description(aligned)["labels"]) != label_set(labels)
    ):
        return ""
    return f"aligned encoder was trained on the probed labels of {labels}"
