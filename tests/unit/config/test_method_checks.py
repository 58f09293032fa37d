"""What is said of a method that cannot do its work in a configuration,
and that the run itself says it too.
"""

import pytest
from support.arms import StandInEncoder, method
from support.runs import tiny_run

from bench.config.checks import check_group, never_ends
from bench.config.compose import compose
from bench.core.train import distributed
from bench.training import arm as arm_module
from bench.training.session import Session


@pytest.mark.parametrize(
    ("stop", "reached"), [(64, True), (448, True), (449, False), (512, False), (513, False)]
)
def test_a_stop_is_reached_when_a_step_begins_after_it(stop, reached):
    cfg = compose(["images=512", "batch=64"])
    assert bool(never_ends(method("repa_stop", stop_images=stop), cfg)) == (not reached)
    assert never_ends(method("repa"), cfg) == ""


def test_a_run_whose_stop_is_never_reached_warns_and_goes_on(tmp_path):
    words = [
        "method=repa_stop",
        "encoder=dinov2_b",
        "encoder.source=local",
        f"encoder.path={tmp_path}",
    ]
    session = Session(compose(tiny_run(tmp_path, *words)))
    with (
        pytest.warns(UserWarning, match="after 102400000 images, is never reached in 2048"),
        pytest.raises(
            ValueError, match="encoder dinov2_b lacks"
        ),  # what comes next, and is not here
    ):
        session.assemble(distributed.start("cpu"))


def test_groups_are_of_what_a_process_computes_at_once():
    check_group(method("dispersive"), 64)
    with pytest.raises(
        ValueError, match=r"compares 32 samples .* 48 are computed at once: make batch"
    ):
        check_group(method("dispersive"), 48)


def test_patch_tokens_are_not_cached_for_a_method_that_reads_attention_maps(tmp_path, monkeypatch):
    def patch_tokens(*_, **__):
        raise AssertionError("a cache that nothing reads")

    monkeypatch.setattr(arm_module, "patch_tokens", patch_tokens)
    session = Session(compose(tiny_run(tmp_path, "images=128", "compute.cache_features=true")))
    session.assemble(distributed.start("cpu"))
    session.open_folder()
    pairs = {"student_layers": [0, 1], "teacher_layers": [2, 3], "stop_images": 64}
    session.arm.method, session.arm.encoder = method("haste", **pairs), StandInEncoder()
    session.train()
    session.close()
    assert session.arm.encoder.calls, "in the steps, for its maps"
