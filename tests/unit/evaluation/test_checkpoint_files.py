"""Which weights a file holds, and what may lie beside them."""

import argparse
import collections
import itertools
import os
import pathlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.evaluation.checkpoint_files import read_weights

STATE = {"blocks.0.attn.weight": torch.ones(2, 2), "pos_embed": torch.ones(3)}
AVERAGE = {key: value + 1 for key, value in STATE.items()}


def read(folder, content):
    torch.save(content, folder / "it.pt")
    return read_weights(folder / "it.pt")


def prefixed(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


def values(found):
    assert found.state.keys() == STATE.keys()
    return {value.unique().item() for value in found.state.values()}


EMA_NAMES = [
    *("ema", "EMA", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "params_ema"),
    *("ema-weights", "ema_0.9999", "net_ema", "g_ema"),
]


@pytest.mark.parametrize("name", EMA_NAMES)
@pytest.mark.parametrize("model", ["model", "state_dict", "net", "module"])
def test_an_average_is_taken_before_the_model_and_said(tmp_path, name, model):
    found = read(tmp_path, {model: STATE, name: AVERAGE, "opt": {"state": {}, "lr": 1.0}})
    assert values(found) == {2} and found.weights == "ema"
    assert found.said == f"taken is {name!r} and not {model!r}"
    alone = read(tmp_path, {name: AVERAGE, "epoch": 3})
    assert values(alone) == {2} and (alone.weights, alone.said) == ("ema", "")


@pytest.mark.parametrize("average", ["shadow", "state_dict", "module", "model", "params"])
def test_an_average_with_its_settings_is_read(tmp_path, average):
    found = read(tmp_path, {"model": STATE, "ema": {average: AVERAGE, "decay": 0.9999}})
    assert values(found) == {2} and found.weights == "ema"


def test_an_average_in_an_unknown_form_is_not_passed_over(tmp_path):
    average = {"shadow_params": list(AVERAGE.values()), "decay": 0.9999}
    with pytest.raises(ValueError, match=r"holds no state dict .*shadow_params, decay"):
        read(tmp_path, {"model": STATE, "ema": average})


def test_settings_of_such_a_name_are_no_weights(tmp_path):
    content = {"model": {"depth": 28}, "ema": {"decay": 0.9}, "state_dict": STATE}
    found = read(tmp_path, content)
    assert values(found) == {1} and (found.weights, found.said) == ("model", "")


WRAPPERS = ("module.", "_orig_mod.", "model.")


@pytest.mark.parametrize(
    "prefix", ["".join(p) for n in (1, 2, 3) for p in itertools.permutations(WRAPPERS, n)]
)
def test_prefixes_of_wrappers_go_in_any_order(tmp_path, prefix):
    found = read(tmp_path, {"state_dict": prefixed(STATE, prefix)})
    assert values(found) == {1} and (found.weights, found.said) == ("model", "")
    bare = read(tmp_path, prefixed(STATE, prefix))
    assert values(bare) == {1} and bare.weights == "as published"
    save_file(prefixed(STATE, prefix), tmp_path / "it.safetensors")
    assert values(read_weights(tmp_path / "it.safetensors")) == {1}


def test_names_inserted_within_are_taken_out(tmp_path):
    odd = {
        "blocks.0._orig_mod.attn._checkpoint_wrapped_module.weight": torch.ones(2, 2),
        "_fsdp_wrapped_module.pos_embed": torch.ones(3),
    }
    assert values(read(tmp_path, {"model": odd})) == {1}


def test_lightning_files_and_averaged_models(tmp_path):
    lightning = {
        "state_dict": prefixed(STATE, "model.")
        | prefixed(AVERAGE, "ema.")
        | {"loss.weight": torch.ones(1)},
        "epoch": 3,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(1)}}}],
        "hyper_parameters": {"lr": 1e-4},
    }
    found = read(tmp_path, lightning)
    assert values(found) == {2} and found.weights == "ema"
    assert found.said == "taken is 'ema' and not 'model', 'loss'"
    averaged = {"n_averaged": torch.tensor(5)} | prefixed(
        AVERAGE, "module."
    )  # torch's AveragedModel
    found = read(tmp_path, {"model": STATE, "ema": averaged})
    assert values(found) == {2} and "taken is 'module' and not 'n_averaged'" in found.said


def lit_ema(names=AVERAGE, **settings):
    """As latent-diffusion's LitEma keeps averages: names without dots, of what is trained."""
    flat = {name.replace(".", ""): AVERAGE[name] for name in names}
    return flat | {"decay": torch.tensor(0.9999), "num_updates": torch.tensor(7)} | settings


@pytest.mark.parametrize("wrapper", ["", "diffusion_model.", "module.", "_orig_mod."])
@pytest.mark.parametrize("joint", ["model_ema.", "model_ema", "model_ema_"])
def test_averages_under_names_without_dots(tmp_path, wrapper, joint):
    inner, average = prefixed(STATE, wrapper), prefixed(AVERAGE, wrapper)
    flat = {name.replace(".", ""): value for name, value in average.items()}
    of_ema = prefixed(flat | {"decay": torch.tensor(0.9)}, joint)
    lightning = prefixed(inner, "model.") | of_ema | {"first_stage_model.x": torch.ones(1)}
    found = read(tmp_path, {"state_dict": lightning, "epoch": 3})
    assert values(found) == {2} and found.weights == "ema"
    assert found.said.split("; ")[0] == "taken is 'model_ema' and not 'model', 'first_stage_model'"
    bare = read(tmp_path, lightning)
    assert values(bare) == {2} and bare.weights == "ema"
    beside = read(tmp_path, {"model": inner, "ema": flat | {"num_updates": torch.tensor(7)}})
    assert values(beside) == {2} and beside.weights == "ema"
    unwrapped = read(tmp_path, {"model": inner, "ema": lit_ema()})
    assert values(unwrapped) == {2} and unwrapped.weights == "ema"


def test_what_is_not_trained_has_no_average_and_is_the_model_s(tmp_path):
    trained = [name for name in STATE if name != "pos_embed"]
    found = read(tmp_path, {"model": STATE, "ema": lit_ema(trained)})
    assert found.state.keys() == STATE.keys()
    assert torch.equal(found.state["pos_embed"], STATE["pos_embed"])
    assert all(torch.equal(found.state[name], AVERAGE[name]) for name in trained)
    assert "1 tensor(s) without an average, pos_embed first, are the model's" in found.said


def test_an_average_without_dots_of_another_model_is_not_filled_up(tmp_path):
    other = {"model": STATE, "ema": lit_ema(blocks1attnweight=torch.ones(1))}
    assert read(tmp_path, other).state.keys() == {*other["ema"]}


def test_weights_that_are_called_like_an_average_are_the_model_s(tmp_path):
    for name in ("ema_scale", "model_emascale", "emablocks"):
        state = STATE | {name: torch.ones(1)}
        assert read(tmp_path, prefixed(state, "model.")).state.keys() == state.keys()
        assert read(tmp_path, {"model": state}).state.keys() == state.keys()


def test_plain_things_beside_the_weights_are_read(tmp_path):
    beside = {
        "loss": np.float64(0.3),
        "step": np.int64(7),
        "flag": np.bool_(True),
        "history": np.arange(3.0, dtype=np.float32),
        "rng": np.random.RandomState(0).get_state(),
        "args": argparse.Namespace(out=pathlib.Path("/data/x"), lr=1e-4),
        "windows": pathlib.PureWindowsPath("C:/x"),
        "log": collections.defaultdict(list, a=[1]),
        "ordered": collections.OrderedDict(a=1),
    }
    for name, thing in beside.items():
        assert values(read(tmp_path, {"ema": AVERAGE, name: thing})) == {2}, name


def test_a_number_of_another_numpy_is_read(tmp_path):
    """NumPy 1 and 2 write unlike names of the same function."""
    torch.save({"ema": AVERAGE, "loss": np.float64(0.3)}, tmp_path / "it.pt", pickle_protocol=2)
    whole = (tmp_path / "it.pt").read_bytes()
    places = (b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
    here = places[0] if places[0] in whole else places[1]
    assert here in whole
    torch.save(
        {"ema": AVERAGE, "loss": np.float64(0.3)},
        tmp_path / "old.pt",
        pickle_protocol=2,
        _use_new_zipfile_serialization=False,
    )
    for place in places:
        content = (tmp_path / "old.pt").read_bytes().replace(here, place)
        (tmp_path / "of_other.pt").write_bytes(content)
        assert values(read_weights(tmp_path / "of_other.pt")) == {2}


class Runs:
    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize(
    "code",
    [
        Runs(os.system, "touch pwned"),
        Runs(eval, "open('pwned', 'w')"),
        Runs(pathlib.Path.touch, pathlib.Path("pwned")),
        Runs(np.load, "pwned"),
        Runs(np.fromfile, "pwned"),
    ],
)
def test_code_is_refused_and_not_run(tmp_path, monkeypatch, code):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="holds pickled code"):
        read(tmp_path, {"ema": AVERAGE, "x": code})
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_told(tmp_path, number, dtype):
    bad = {key: value.to(dtype).clone() for key, value in AVERAGE.items()}
    bad["pos_embed"][1] = number
    with pytest.raises(
        ValueError,
        match=r"it\.pt has 1 weight\(s\) that are not finite, in 1 of 2 .*pos_embed first",
    ):
        read(tmp_path, {"model": STATE, "ema": bad})
    other = {"model": bad, "ema": AVERAGE, "counter": torch.tensor(3)}
    assert values(read(tmp_path, other)) == {2}, "what is not taken does not matter"
