"""Which arms of the shipped studies can be run on which data, and why the others cannot."""

from __future__ import annotations

import pytest
import yaml

from bench.config.groups import CONF, options
from bench.study import runs as study
from bench.study import studies


def test_family_lists_every_method_and_says_what_is_not_possible():
    runs = study.runs("family", extra=["seed=0"])
    assert {
        word.partition("=")[2]
        for run in runs
        for word in run.overrides
        if word.startswith("method=")
    } == set(options("method"))
    impossible = {run.arm: run.reason for run in runs if run.id is None}
    assert impossible.keys() == {"haste", "repa_stop"}
    assert "ViT" in impossible["haste"] and "is never reached" in impossible["repa_stop"]


# haste reads a ViT's attention, and the recipes end before the stop of repa_stop
OF_FAMILY = {
    "digits": {"haste", "repa_stop"},
    "cifar10": {"haste", "repa_stop"},
    "imagenet256": {"repa_stop"},
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "mixed" else pytest.mark.slow) for n in studies.names()],
)
def test_every_arm_of_every_study_can_run_on_every_data_set_of_its_file(name):
    for data in yaml.safe_load((CONF / "study" / f"{name}.yaml").read_text())["data"]:
        impossible = {run.arm for run in study.runs(name, data, ["seed=0"]) if run.id is None}
        assert impossible == (OF_FAMILY[data] if name == "family" else set()), data


@pytest.mark.parametrize(
    ("data", "words", "impossible"),
    [
        ("imagenet256", [], {"repa_stop"}),  # the recipe ends where its stop is
        ("imagenet256", ["images=800Ksteps"], set()),
        ("imagenet256", ["size=S"], {"repa_stop", "haste"}),
        ("digits", ["batch=48", "images=96"], {"repa_stop", "haste", "dispersive"}),
    ],
)
def test_arms_that_could_not_start_or_would_be_another_method_are_not_possible(
    data, words, impossible
):
    assert {
        run.arm for run in study.runs("family", data, ["seed=0", *words]) if run.id is None
    } == impossible
