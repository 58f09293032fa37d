"""The search for the learning rate of each size: the grid, the parabola, and what is written."""

from __future__ import annotations

import math

import pytest
import yaml
from support.runs import run_in_process

from bench.core.store.runs import read_run
from bench.study import studies
from bench.study.rates import Found, best_rate, block, conclude, found, loss_table
from bench.study.request import Sweep
from bench.sweep import SWEEP

FILE = """\
description: Rates
claims: []
arms:
  selfflow: [method=selfflow]
data:
  digits:
    lasts: seconds
    seeds: {nano: 3, micro: 2}
    sizes: {nano: [optimizer.lr=0.004, batch=32], micro: []}
    overrides: [measure=none]
"""


def bowl(rates, at, width=0.3, least=0.4):
    """Losses on a parabola in the logarithm of the rate."""
    return {rate: least + width * math.log(rate / at) ** 2 for rate in rates}


@pytest.mark.parametrize("at", [0.0025, 0.003, 0.0041, 0.0055])
@pytest.mark.parametrize(
    "rates", [(0.001, 0.002, 0.004, 0.008), (0.0005, 0.0021, 0.0043, 0.01, 0.09)]
)
def test_a_known_parabola_is_found_again(rates, at):
    rate, warning = best_rate(bowl(rates, at))
    assert rate == pytest.approx(at) and not warning


def test_only_the_best_three_count():
    losses = bowl((0.001, 0.002, 0.004, 0.008), 0.002) | {0.016: 9.0, 0.0001: 7.0}
    assert best_rate(losses)[0] == pytest.approx(0.002)
    assert best_rate(dict.fromkeys((0.001, 0.002, 0.004), 0.5)) == (
        0.001,
        "the best rate, 0.001, is the lowest of the grid: extend it downwards, with 0.0005 and "
        "0.00025",
    )


def test_at_the_edge_it_is_said_which_way_to_go():
    rate, warning = best_rate(bowl((0.001, 0.002, 0.004), 0.05))
    assert rate == 0.004 and "the highest of the grid: extend it upwards, with 0.008" in warning
    rate, warning = best_rate(bowl((0.001, 0.002), 0.004), failed=[0.004, 0.5])
    assert rate == 0.002 and "0.004 gave no number: add rates between, such as 0.0028" in warning
    rate, warning = best_rate(bowl((0.001, 0.002), 0.0001), failed=[0.004])
    assert rate == 0.001 and "extend it downwards, with 0.0005 and 0.00025" in warning


GRIDS = {
    "1e-3..8e-3": (0.001, 0.002, 0.004, 0.008),
    "1e-3..1e-2": (0.001, 0.002, 0.004, 0.008),
    "4e-3,1e-3": (0.001, 0.004),
}


@pytest.mark.parametrize(("text", "rates"), GRIDS.items())
def test_grids_of_rates(text, rates):
    assert SWEEP.parse(["study=demo", f"rates={text}"])["rates"] == pytest.approx(rates)


BAD = {
    "1e-3": "rates=1e-3 makes fewer than two: write at least two, as rates=1e-3,2e-3",
    "1e-3,0.001": "makes fewer than two",
    "8e-3..1e-3": "makes fewer than two",
    "1e-3..": "rates= is not a number",
    "0,1": "rates=0.0 is outside",
    "fast": "rates=fast is not a number",
}


@pytest.mark.parametrize(("text", "message"), BAD.items())
def test_bad_grids_are_one_sentence(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        SWEEP.parse(["study=demo", f"rates={text}"])
    assert "\n" not in str(caught.value)


def test_the_block_keeps_other_words_of_a_size():
    sizes = [Found("nano", {0.001: 0.5, 0.002: 0.4}, 0.00217), Found("S", {0.001: 0.3}, 0.001)]
    text = block(sizes, {"nano": ("optimizer.lr=0.004", "batch=32")})
    assert yaml.safe_load(text) == {
        "sizes": {"nano": ["optimizer.lr=0.0022", "batch=32"], "S": ["optimizer.lr=0.001"]}
    }
    assert loss_table(sizes, (0.001, 0.002)).splitlines()[2].split() == [
        "S",
        "0.3000",
        "-",
        "0.001",
    ]
    assert block([*sizes, Found("B", {}, None, "3 runs have not ended")], {}) == ""


@pytest.fixture
def search(tmp_path, monkeypatch):
    """The search for rates of a study of two sizes."""
    monkeypatch.setattr(studies, "FOLDER", tmp_path)
    (tmp_path / "mine.yaml").write_text(FILE)

    def ask(*words):
        rates = "rates=1e-3,4e-3"
        return Sweep(**SWEEP.parse(["study=mine", rates, f"runs={tmp_path / 'runs'}", *words]))

    return ask


def test_the_runs_are_vanillas_from_seeds_of_their_own(search, tmp_path):
    made = search()
    seen = [(r.cfg.seed, r.cfg.size.name, r.cfg.optimizer.lr, r.cfg.batch) for r in made.specs]
    assert seen == [
        (seed, size, rate, batch)
        for seed in (1000, 1001)
        for size, batch in (("nano", 32), ("micro", 64))
        for rate in (0.001, 0.004)
    ]
    assert made.ids[1].startswith("digits-vanilla-nano-s1000-lr0.004-")
    assert {r.cfg.method.name for r in made.specs} == {"vanilla"}
    assert made.runs == tmp_path / "runs" / "rates"
    assert {r.cfg.cache for r in made.specs} == {str(tmp_path / "runs" / "cache")}
    assert made.name.startswith("mine-digits-rates-") and "rates=0.001,0.004" in made.command()
    with pytest.raises(ValueError, match=r"leave out optimizer.lr=1"):
        search("optimizer.lr=1")
    alone = search("size=micro", "seed=1007").specs
    assert {(r.cfg.seed, r.cfg.size.name) for r in alone} == {(1007, "micro")}


def test_what_the_runs_measured_is_found_and_written(search, capsys):
    small = ["images=640", "log_images=320", "snapshots=1", "compute.threads=1"]
    made = search("size=nano", "seed=1000", "compute.device=cpu", *small)
    (waiting,) = found(made.specs)
    assert waiting.rate is None and waiting.warning == "2 runs have not ended"
    for spec in made.specs:
        assert run_in_process(list(spec.overrides)) == 0
    path = made.runs / "rates.yaml"
    conclude(made.study, made.data, made.rates, made.specs, path)
    (nano,) = found(made.specs)
    measured = [
        row["value"]
        for spec in made.specs
        for row in read_run(made.runs / str(spec.id)).results.rows
        if row["metric"] == "heldout_loss" and row["images"] == 640
    ]
    assert list(nano.losses.values()) == measured and len(measured) == 2
    assert nano.rate == 0.004 and "extend it upwards" in nano.warning
    content = yaml.safe_load(path.read_text())
    assert content == {"sizes": {"nano": ["optimizer.lr=0.004", "batch=32"]}}
    assert f"{measured[0]:.4f}" in path.read_text() and "written to" in capsys.readouterr().out
