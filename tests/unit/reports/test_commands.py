"""Commands on a page: what is printed goes through the real parsers and
makes the run that it stands for.
"""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from bench.config.compose import compose
from bench.config.identity import arm_name, identity, run_id
from bench.config.words import values_of
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.model.tokens import TokenGrid
from bench.core.store.runs import RunRecord
from bench.evaluate import EVALUATE
from bench.evaluation.request import Request
from reports.page.commands import measuring_command, training_command


def made_run(words, argv=None):
    """A run as `bench.run` describes it, without training it."""
    cfg = compose(words)
    return RunRecord(
        folder=Path("runs") / run_id(cfg),
        arm=arm_name(cfg),
        method=cfg.method.name,
        encoder=cfg.encoder.name if cfg.encoder else None,
        size=cfg.size.name,
        depth=cfg.size.depth,
        width=cfg.size.width,
        data=cfg.data.name,
        seed=cfg.seed,
        images=cfg.images,
        identity=identity(cfg),
        argv=argv or [],
        status={"state": "complete"},
        configuration=cfg.to_dict(),
    )


def words_of(command, program="bench.run"):
    python, flag, module, *words = shlex.split(command)
    assert (python, flag, module) == ("python", "-m", program)
    return words


WORDS = [
    ["method=vanilla"],
    ["method=selfflow", "method.attention=separated"],
    ["method=selfflow", "method.near=0.2", "method.mask_ratio=0.5", "size=micro"],
    ["method=repa", "encoder=local_s", "images=64Ki", "optimizer.lr=1e-05"],
    ["method=repa", "method.block={default:0.25,L:6}", "name=a b", "measure=full"],
    ["method=dispersive", "method.block=last", "batch=128", "label_drop=0.0"],
]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
@pytest.mark.parametrize("kept", [True, False])
def test_a_printed_command_makes_the_run(words, kept):
    run = made_run(words, words if kept else None)
    again = compose(words_of(training_command(run)))
    assert run_id(again) == run.id
    assert all(
        getattr(again, key) == run.configuration[key] for key in ("images", "measure", "name")
    )
    assert run_id(compose(words_of(training_command(run, seed=4)))) == run_id(
        compose([*words, "seed=4"])
    )


def test_without_its_configuration_a_run_is_made_from_its_identity():
    run = replace(made_run(["method=selfflow", "method.near=0.2", "images=64Ki"]), configuration={})
    again = compose(words_of(training_command(run, measure="full")))
    assert (run_id(again), again.images, again.measure) == (run.id, 65536, "full")


def test_what_bench_run_measures_is_measured_by_it():
    run = made_run(["method=selfflow", "method.similarity=l1"])
    for kind in ("heldout", "samples", "features"):
        cfg = compose(
            words_of(measuring_command(run, {"kind": kind, "metric": "x", "protocol": {}}))
        )
        assert (run_id(cfg), cfg.measure) == (run.id, "full")


def test_what_bench_evaluate_measures_is_measured_by_it():
    run = made_run(["method=vanilla"])
    sampling = sampling_protocol("sde250", guidance=1.5).to_json() | {"samples": 50_000, "seed": 1}
    protocol = {"sampling": sampling, "reference": "VIRTUAL_imagenet256_labeled.npz (0a1b2c3d)"}
    for metric, asked in (("sfid", "fid"), ("fd_dinov2", "fd_dinov2")):
        like = {"kind": "evaluate-0a1b2c3d-1a2b3c4d-fid", "metric": metric, "protocol": protocol}
        assert values_of(words_of(measuring_command(run, like), "bench.evaluate")) == {
            "run": str(run.folder),
            "protocol": "sde250",
            "samples": "50000",
            "seed": "1",
            "guidance": "1.5",
            "reference": "VIRTUAL_imagenet256_labeled.npz",
            "metrics": asked,
        }


def test_a_measuring_command_samples_by_the_recorded_protocol():
    run, grid = made_run(["method=vanilla"]), TokenGrid((8, 8), 2, 3)
    changes = {
        "steps": 100,
        "guidance": 1.5,
        "guidance_high": 0.7,
        "labels": "balanced",
        "rounding": "round_half_up",
    }
    changes |= dict.fromkeys(
        ("noise_precision", "model_precision", "decoder_precision"), "bf16"
    ) | {"state": "float32"}
    recorded = sampling_protocol(
        "sde250", guided_channels=2 * 2 * 2, **changes
    )  # two of three channels, patch 2
    like = {
        "kind": "evaluate-x",
        "metric": "fid",
        "protocol": {"sampling": recorded.to_json(), "reference": "train"},
    }
    words = EVALUATE.parse(words_of(measuring_command(run, like), "bench.evaluate"))
    assert Request.of_words(words, {}).protocol(grid) == recorded
