"""What a method cannot do in a configuration, said before anything is built: blocks, groups,
attention maps, an end.

check_method(build(cfg.method), cfg)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bench.config.groups import encoder_option, locate, made_of_another, options
from bench.config.schema import Config, Option, nearest
from bench.core.metrics import find_entry, metric_entries

if TYPE_CHECKING:
    from bench.core.model.method import (
        Method,
    )  # imports PyTorch, for which a help page does not wait


def check_method(method: Method, cfg: Config) -> None:
    """Raise ValueError where no run of this configuration could use its method."""
    if "attention" in method.needs:
        _check_attention(method, cfg.encoder)
    size = cfg.size
    method.blocks(size)
    method.ends(size)
    check_group(method, cfg.micro_batch or cfg.batch)


def check_metrics(key: str, names: Iterable[str], of_run: bool = False) -> None:
    """Raise ValueError for a metric that bench/conf/metrics.yaml does not have; of_run: a family
    without its encoder (cknna for cknna_*) is of the run's encoders.
    """
    table = metric_entries()
    encoders = [name for name in options("encoder") if not made_of_another(name)]
    known = [name.replace("*", encoder) for name in table for encoder in encoders]
    if of_run:
        known += [name.removesuffix("_*") for name in table if name.endswith("_*")]
    known = list(dict.fromkeys(known))
    for name in names:
        entry = find_entry(name)
        if entry is not None and "(" in entry.encoder(name):  # made of another: too many to list
            encoder_option(entry.encoder(name))
        elif name not in known:
            shown = ", ".join(one.replace("*", "<encoder>") for one in table)
            raise ValueError(f"{key}={name} is unknown{nearest(name, known)} ({shown})")


def check_settings(key: str, settings: Mapping[str, object]) -> None:
    """Raise ValueError for a word that no metric is told, and for a value that it does not take."""
    known = {word: how for one in metric_entries().values() for word, how in one.settings.items()}
    for word, value in settings.items():
        if word not in known:
            raise ValueError(
                f"{key}: no metric is told {word}{nearest(word, known)} ({', '.join(known)})"
            )
        takes = known[word]["takes"]
        if isinstance(takes, list) and value not in takes:
            raise ValueError(f"{key}: {word} is {value}, not one of {', '.join(takes)}")
        if takes == "count" and not (isinstance(value, int) and value > 0):
            raise ValueError(f"{key}: {word} is {value}, not a whole number above 0")


def check_group(method: Method, at_once: int) -> None:
    """Raise ValueError unless so many samples, computed at once,
    are whole groups of those that a method compares.
    """
    if at_once % method.group:
        raise ValueError(
            f"method={method.name} compares {method.group} samples with each other, "
            f"and {at_once} are computed "
            "at once: make batch (or micro_batch) a multiple"
        )


def _check_attention(method: Method, encoder: Option | None) -> None:
    def attends(option: Option) -> bool:
        return getattr(locate(option.target), "attends", False)

    assert encoder is not None  # a method that needs attention maps is given the recipe's encoder
    if not attends(encoder):
        serving = [name for name in options("encoder") if attends(encoder_option(name))]
        raise ValueError(
            f"method={method.name} reads attention maps, "
            f"and encoder {encoder.name} serves none: choose a ViT that "
            f"does, encoder={' or '.join(serving)}"
        )


def never_ends(method: Method, cfg: Config) -> str:
    """Why a method that ends terms of its loss will not have ended them in this run;
    "" where it will, or has none.
    """
    ends = method.ends(cfg.size)
    if (
        ends is None or ends <= cfg.images - cfg.batch
    ):  # the last step begins a batch before the end
        return ""
    return (
        f"the stop of method={method.name}, after {ends} images, "
        f"is never reached in {cfg.images}, so it would be "
        "the same method without a stop: give it an earlier stop, or more images"
    )
