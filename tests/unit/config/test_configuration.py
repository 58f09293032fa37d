"""Configuration: pinned identities, what changes them and what must not, counts, and types."""

import re

import pytest

from bench.config.compose import compose, parse_count
from bench.config.groups import build
from bench.config.identity import arm_name, earlier_id, found_id, run_hash, run_id
from bench.config.schema import Option
from bench.core.model.sizes import SIZES
from bench.core.store.files import write_json

# A change here makes every existing run folder an orphan: never change a line, only add.
# A default that becomes another asks for new names: what had a name keeps it under the old value.
PINNED = {
    "": "5e639187",
    "method=selfflow method.head_init=torch": "11967b79",
    "method=repa method.head_init=torch": "cc1f798b",
    "method=repa encoder=local_s method.head_init=torch": "4d7c65c9",
    "method=dual_timestep seed=3": "08fbf9c0",
    "method=selfflow method.similarity=l1 method.head_init=torch": "ceac7a57",
    "size=tiny method=selfflow method.head_init=torch": "4c24bd9f",
    "optimizer.lr=8e-3 seed=100": "b0df2f50",
    "method=sra batch=128 method.head_init=torch": "4735779c",
    "data=imagenet256 method=repa method.head_init=torch": "95aaba2a",
    "method=selfflow": "fb46c2f6",
    "method=repa": "c0a650da",
    "data=imagenet256 method=haste": "ea81366c",
    "method=irepa": "a8addf09",
}


@pytest.mark.parametrize("words", PINNED, ids=lambda words: words or "default")
def test_identities_are_pinned(words):
    assert run_hash(compose(words.split())) == PINNED[words]


@pytest.mark.parametrize(
    "words",
    [
        "compute.threads=3 compute.device=cpu",
        "runs=elsewhere cache=there",
        "measure=full evaluation.samples=99 evaluation.probe_images=4Ki",
        "log_images=64 checkpoint_images=64 checkpoint_minutes=1 snapshots=3",
        "name=mine",
        "batch=64 optimizer.lr=0.004",
    ],
)
def test_what_does_not_change_the_numbers_does_not_change_the_hash(words):
    assert run_hash(compose(words.split())) == run_hash(compose([]))


@pytest.mark.parametrize(
    "words",
    [
        "seed=1",
        "batch=128",
        "ema.decay=0.9",
        "size.depth=5",
        "time.shift=2",
        "label_drop=0",
        "data.patch=4",
    ],
)
def test_what_changes_the_numbers_changes_the_hash(words):
    assert run_hash(compose(words.split())) != run_hash(compose([]))


def test_a_run_of_another_length_is_another_run_where_the_rate_knows_the_end():
    whole, trial = compose([]), compose(["images=16Ki"])
    assert trial.optimizer.schedule == "cosine" and run_id(trial) != run_id(whole)
    assert run_id(compose([f"images={whole.images}"])) == run_id(whole), "as the recipe says"
    constant = ["optimizer.schedule=constant"]
    assert run_id(compose([*constant, "images=16Ki"])) == run_id(compose(constant))
    share = [*constant, "optimizer.warmup_share=0.1"]
    assert run_id(compose([*share, "images=16Ki"])) != run_id(compose(share))


def test_a_run_made_before_lengths_were_told_apart_is_found(tmp_path):
    whole, trial = compose([]), compose(["images=16Ki"])
    folder = tmp_path / run_id(whole)  # what a trial's folder was called
    write_json(folder / "run.json", {})
    write_json(folder / "config.json", trial.to_dict())
    assert found_id(trial, tmp_path) == folder.name
    other = compose(["images=32Ki"])
    assert found_id(other, tmp_path) == run_id(other), "of as many images, and of no other"
    write_json(tmp_path / run_id(trial) / "run.json", {})
    assert found_id(trial, tmp_path) == run_id(trial)


def test_names():
    cfg = compose(["method=selfflow", "method.similarity=l1", "seed=2"])
    assert arm_name(cfg) == "selfflow(similarity=l1)" and run_id(cfg).startswith(
        "digits-selfflow-nano-s2-"
    )
    assert arm_name(compose(["method=repa", "encoder=local_s"])) == "repa/local_s"
    before = ["method=repa", "encoder=local_s", "method.head_init=torch"]
    assert arm_name(compose(before)) == "repa(head_init=torch)/local_s"


def test_the_words_of_a_run_made_before_an_option_was_there_still_lead_to_it():
    now, before = compose(["method=sra"]), compose(["method=sra", "method.head_init=torch"])
    assert run_id(now) != earlier_id(now) == run_id(before) == earlier_id(before)
    assert earlier_id(compose(["method=irepa"])) == run_id(compose(["method=irepa"]))


def test_the_recipe_chooses_size_and_encoder():
    assert compose([]).size.name == "nano" and compose([]).encoder is None
    assert compose(["data=imagenet256"]).size.name == "XL"
    assert compose(["method=repa"]).encoder.name == "local_m"
    assert compose(["data=imagenet256", "method=repa"]).encoder.name == "dinov2_b"


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("65536", 65536),
        ("64Ki", 65536),
        ("1e6", 10**6),
        ("400Ksteps", 400_000 * 256),
        ("1.5Mi", 3 * 2**19),
    ],
)
def test_counts(text, images):
    assert parse_count("images", text, 256) == images


@pytest.mark.parametrize("text", ["64Kb", "-3", "0", "0.5", "ten", "1e400", ""])
def test_bad_counts(text):
    with pytest.raises(ValueError, match="images="):
        parse_count("images", text, 256)


BAD = {
    "size.depth=2.5": "size.depth=2.5 is not a whole number",
    "data.patch=abc": "data.patch=abc is not a whole number",
    "data.patch=0": "data.patch=0 is outside",
    "compute.threads=abc": "compute.threads=abc is not a whole number",
    "compute.shard=maybe": "is not true or false",
    "compute.threads=1.5": "compute.threads=1.5 is not a whole number",
    "data=folder data.in_memory=maybe": "data.in_memory=maybe is not true or false",
    "data=null": "data=null is unknown",
    "method.name=other": "say method=NAME",
    "data.recipe.size=tiny": "say size=NAME",
    "data.name=../x": "is no folder's name",
    "runs=": "names no folder",
    "optimizer.clip=inf": "optimizer.clip=inf is outside",
    "optimizer.warmup_steps=-5": "optimizer.warmup_steps=-5 is outside",
    "optimizer.warmup_share=1": "optimizer.warmup_share=1.0 is outside",
    "optimizer.warmup_share=often": "optimizer.warmup_share=often: Value 'often'",
    "optimizer.warmup_steps=5 optimizer.warmup_share=0.1": "are both said: leave one of them",
    "optimizer.beta1=1.5": "optimizer.beta1=1.5 is outside",
    "time.std=0": "time.std=0.0 is outside",
    "images=1e30": "a count is a whole number",
    "name=../escaped": "is no folder's name",
    "method=repa encoder.width=wide": "encoder.width=wide is not a whole number",
    "method=repa method.weight=nan": "method.weight=nan is outside",
    "method=repa method.head_width=0": "method.head_width=0 is outside",
    "method=selfflow method.mask_ratio=1.5": "method.mask_ratio=1.5 is outside",
    "method=selfflow method.near=-0.5": "method.near=-0.5 is outside",
    "method=sra method.beta=-1": "method.beta=-1.0 is outside",
    "method=layersync method.student_block=[1]": "block '[1]' is neither a number",
    "method=repa method.block=5": "block 5 is above the depth 4 of size nano",
    "method=dispersive batch=48 images=96": "compares 32 samples with each other, and 48 are",
    "method=dispersive micro_batch=16": "compares 32 samples with each other, and 16 are",
    "method=haste": "encoder local_m serves none: choose a ViT that does, encoder=dinov2_b or",
    "method=haste encoder=dinov3_b": "encoder dinov3_b serves none: choose a ViT that does",
    "method=haste encoder=dinov2_b": "haste has published layer pairs for the sizes B, L, XL",
    "method=irepa method.head_width=64": "there is no key 'method.head_width'",
    "method=selfflow method.masking=false method.mask_ratio=0.5": "mask_ratio=0.5 says nothing",
    "method=selfflow method.masking=false method.near=0.2": "near=0.2 says nothing: method.masking",
    "method=selfflow method.masking=false method.attention=separated": "separated says nothing",
    "method=sra method.similarity=cosine method.beta=0.1": "of method.similarity=smooth_l1 alone",
    "method=sra method.similarity=cosine method.decay_images=1e6": "1000000 says nothing",
}


@pytest.mark.parametrize(("words", "message"), BAD.items(), ids=list(BAD))
def test_values_that_no_run_could_use_are_named(words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        compose(words.split())


@pytest.mark.parametrize(
    "path", ["my(pics)", "a=b", "it's", "a,b", "5", "two words", "back\\", "${x"]
)
def test_any_text_is_a_path(path):
    if path == "${x":
        with pytest.raises(ValueError, match="runs="):
            compose([f"runs={path}"])
    else:
        assert (
            compose([f"runs={path}", "data=folder", f"data.root={path}"]).data.values["root"]
            == path
        )


def test_home_is_spelt_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    cfg = compose(["runs=~/runs"])
    assert (cfg.runs, cfg.cache) == ("/home/someone/runs", "/home/someone/runs/cache")


def test_a_mapping_by_size_is_replaced_and_counts_are_counts_everywhere():
    haste = ["method=haste", "encoder=dinov2_b", "size=B"]
    cfg = compose(
        [*haste, "method.student_layers=[0,1,2]", "method.stop_images=64Ki", "method.block=2"]
    )
    assert (
        cfg.method.values["student_layers"] == [0, 1, 2]
        and cfg.method.values["stop_images"] == 65536
    )
    assert cfg.method.values["block"] == 2 and cfg.method.values["teacher_layers"]["B"] == [
        7,
        9,
        11,
    ]
    cfg = compose([*haste, "method.teacher_layers={B:[1,2,3]}"])
    assert cfg.method.values["teacher_layers"] == {"B": [1, 2, 3]}
    assert compose(["compute=slurm", "compute.extra={exclude:node7}"]).compute.extra == {
        "exclude": "node7"
    }
    assert compose(["evaluation.settings={probe: repa}"]).evaluation.settings == {"probe": "repa"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{probes: repa}", "no metric is told probes; did you mean probe"),
        ("{probe: slow}", "probe is slow, not one of auto, fast, repa"),
        ("{heldout_images: 0.5}", "heldout_images is 0.5, not a whole number above 0"),
    ],
)
def test_what_no_metric_takes_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        compose([f"evaluation.settings={settings}"])


@pytest.mark.parametrize(
    ("text", "value", "block"),
    [
        ("2", 2, 2),
        ("0.5", 0.5, 2),
        ("last", "last", 4),
        ("{default: 2}", {"default": 2}, 2),
        ("{nano: 2}", {"nano": 2}, 2),
    ],
)
def test_a_block_is_a_number_a_fraction_last_or_a_mapping_whatever_its_default(text, value, block):
    for method, role in (("dispersive", "block"), ("repa", "block"), ("selfflow", "student_block")):
        cfg = compose([f"method={method}", f"method.{role}={text}"])
        assert cfg.method.values[role] == value
        assert build(cfg.method).blocks(SIZES["nano"])["student"] == block


def test_types_of_a_groups_own_keys_are_checked():
    with pytest.raises(ValueError, match="could not be converted to Float"):
        compose(["method=selfflow", "method.mask_ratio=much"])
    with pytest.raises(ValueError, match="cannot be imported"):
        build(Option("methods.nowhere:Thing", {"name": "x"}))
