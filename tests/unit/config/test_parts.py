"""data=mixed as words: which parts, what each of them is told, and what is refused."""

import pytest

from bench.config.compose import compose
from bench.config.groups import build, current
from bench.config.identity import arm_name, identity, is_identity, run_hash, run_id
from bench.config.parts import part_configs

TWO = ["data=mixed", "data.parts=[digits,notes]"]


def test_each_part_is_told_what_it_would_be_told_alone():
    cfg = compose(["data=mixed", "method=selfflow"])
    for name, own in part_configs(cfg).items():
        alone = compose([f"data={name}", "method=selfflow", "size=micro"])
        assert own.method == alone.method, name
        assert own.time == alone.time, name
        assert own.evaluation == alone.evaluation, name
        assert own.data == alone.data
        assert (own.optimizer, own.images, own.seed) == (cfg.optimizer, cfg.images, cfg.seed)


def test_what_is_said_of_all_parts_is_so_in_each():
    words = ["evaluation.samples=64", "evaluation.metrics=[heldout_loss]", "method.mask_ratio=0.3"]
    for own in part_configs(compose([*TWO, "method=selfflow", *words])).values():
        assert own.evaluation.samples == 64 and own.evaluation.metrics == ["heldout_loss"]
        assert own.method.values["mask_ratio"] == 0.3


def test_a_value_may_be_said_by_part():
    words = ["method=selfflow", "method.mask_ratio={digits: 0.1, notes: 0.2}"]
    own = part_configs(compose([*TWO, *words]))
    assert {name: one.method.values["mask_ratio"] for name, one in own.items()} == {
        "digits": 0.1,
        "notes": 0.2,
    }
    with pytest.raises(ValueError, match=r"method.mask_ratio is said of digits, and the parts"):
        compose([*TWO, "method=selfflow", "method.mask_ratio={digits: 0.1}"])
    with pytest.raises(ValueError, match=r"method.mask_ratio=2"):
        compose([*TWO, "method=selfflow", "method.mask_ratio={digits: 0.1, notes: 2}"])


def test_data_of_one_kind_has_one_part():
    cfg = compose([])
    assert part_configs(cfg) == {"": cfg}


def test_shares_of_the_usual_parts_say_nothing_of_others():
    assert compose(TWO).data.values["share"] is None
    assert compose([*TWO, "data.share={digits:1,notes:3}"]).data.values["share"] == {
        "digits": 1,
        "notes": 3,
    }
    usual = compose(["data=mixed"]).data.values["share"]
    same = compose(["data=mixed", "data.parts=[notes,moving_digits,digits]"])
    assert same.data.values["share"] == usual and list(same.data.parts) == [
        *("notes", "moving_digits", "digits"),
    ]


def test_keys_of_a_part():
    words = [
        "data.parts=[digits,moving_digits,spoken_digits]",
        "data.parts.spoken_digits.root=12",
        "data.parts.moving_digits.patch=[2,2,4]",
        "data.parts.moving_digits.recipe.time={kind: uniform}",
    ]
    cfg = compose(["data=mixed", *words])
    assert cfg.data.parts["spoken_digits"].values["root"] == "12"
    assert cfg.data.parts["moving_digits"].values["patch"] == [2, 2, 4]
    assert part_configs(cfg)["moving_digits"].time.kind == "uniform"


def test_identity_is_of_what_changes_the_numbers():
    plain = compose(TWO)
    assert run_id(plain).startswith("mixed-vanilla-micro-s0-") and arm_name(plain) == "vanilla"
    assert identity(plain)["data.parts"] == "[digits,notes]"
    for word in (
        *("data.parts.notes.count=99", "data.weights={digits:1,notes:2}"),
        *("data.share={digits:1,notes:2}", "data.name=other"),
    ):
        assert run_hash(compose([*TWO, word])) != run_hash(plain), word
    assert run_hash(compose(["data=mixed"])) != run_hash(plain)
    assert not is_identity("data.parts.notes.root") and is_identity("data.parts.notes.count")
    assert is_identity("data.parts.moving_digits.recipe.time.shift")
    assert not is_identity("data.parts.notes.recipe.lr")
    renamed = compose([*TWO, "data.name=other", "method=selfflow"])
    alone = compose(["data=notes", "size=micro"])
    assert part_configs(renamed)["notes"].evaluation == alone.evaluation


def test_a_stored_mixture_is_built_by_todays_files():
    node = compose(TWO).to_dict()["data"]
    for part in node["parts"].values():
        part["target"] = "moved." + part["target"].rpartition(".")[2]
    found = current("data", node)
    assert found.parts["notes"].target == "bench.core.data.notes:Notes"
    assert found.parts["digits"].licence.startswith("CC BY 4.0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data=mixed data.parts=[digits,digits]", "names digits twice: leave one of them"),
        ("data=mixed data.parts=[digts]", "names digts, which is unknown; did you mean digits"),
        ("data=mixed data.parts=[digits,mixed]", "names mixed, which is itself made of parts"),
        ("data=mixed data.parts=[]", "names nothing"),
        ("data.parts=[digits]", "data=digits is of one kind; drop it, or choose data=mixed"),
        ("data=mixed time.shift=2", "say data.parts.moving_digits.recipe.time.shift=VALUE"),
        ("data=mixed data.parts.words.count=9", "there is no key 'data.parts.words.count'"),
        ("data=mixed data.parts.notes.patch=0", "data.parts.notes.patch=0 is outside"),
        ("data=mixed data.parts.notes.count=x", "data.parts.notes.count=x is not a whole number"),
        ("data=mixed data.recipe.parts=[digits]", "say data.parts=NAME"),
    ],
)
def test_what_no_run_could_use_is_refused(words, said):
    with pytest.raises(ValueError) as refused:
        compose(words.split())
    assert said in str(refused.value)


def test_what_a_part_lacks_is_said_with_its_key():
    cfg = compose(["data=mixed", "data.parts=[digits,spoken_digits]"])
    with pytest.raises(
        ValueError, match=r"data.parts, spoken_digits: .*data.parts.spoken_digits.r"
    ):
        build(cfg.data)
