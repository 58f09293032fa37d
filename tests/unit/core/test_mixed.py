"""One backbone on several kinds of data: whose turn a step is, what is shared, and going on."""

import copy
import io
import math
from types import SimpleNamespace

import pytest
import torch
from support.arms import SMALL, method

from bench.config.compose import compose
from bench.core.data.base import PictureData
from bench.core.data.mixed import Mixed, found_in, sizes_of
from bench.core.model.backbone import SiT
from bench.core.model.conditions import Bytes, Classes
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.model.method import Method
from bench.core.model.ports import Ported, shared_parameters, state_of_part, views_of
from bench.core.model.sizes import Size
from bench.core.model.streams import generator
from bench.core.model.tokens import TokenGrid
from bench.core.train import distributed
from bench.core.train.cost import count, of_mixed
from bench.core.train.learner import TURN_COLUMN, Learner
from bench.core.train.parts import TrainedPart, Turns
from bench.core.train.settings import Settings
from bench.training.arm import MixedArm

TINY = Size("nano", 4, 16, 2)
GRIDS = {
    "sounds": TokenGrid((6,), 1, 8),
    "pictures": TokenGrid((4, 6), (2, 3), 1),
    "videos": TokenGrid((4, 8, 4), (2, 4, 2), 3),
}
CPU = distributed.Processes(0, 1, torch.device("cpu"))


class Random(PictureData):
    """Bytes of any shape with three classes."""

    def __init__(self, name, grid, count=24):
        draw = torch.Generator().manual_seed(len(name))
        kept = torch.randint(0, 256, (count, grid.channels, *grid.shape), generator=draw)
        labels, parts = torch.arange(count) % 3, ("train", "heldout")
        super().__init__(
            name, grid, 3, dict.fromkeys(parts, kept.byte()), dict.fromkeys(parts, labels)
        )


class Averages(Encoder):
    """Means of any data over the token grid, through a fixed random map."""

    def __init__(self, grid, channels, width):
        super().__init__(EncoderCard("averages", "stand-in", "nothing", ""))
        self.width, self.grid = width, grid.grid
        self.map = torch.nn.Linear(channels, width, bias=False)
        self.freeze()

    @torch.no_grad()
    def forward(self, images, attention_of=()):
        pool = getattr(torch.nn.functional, f"adaptive_avg_pool{len(self.grid)}d")
        patches = self.map(pool(images.float() / 255, self.grid).flatten(2).transpose(1, 2))
        return EncoderFeatures(patches, None, self.grid)


def view(name, seed=0):
    return SiT(GRIDS[name], TINY, 3).initialise(generator(seed, f"init {name}", 0))


def ported(names=tuple(GRIDS)):
    return Ported({name: view(name) for name in names})


def parts_for(name, names=tuple(GRIDS), **of_part):
    built, found = method(name, **SMALL.get(name, {})), {}
    for part in names:
        data, grid = Random(part, GRIDS[part]), GRIDS[part]
        encoder = None
        if "clean" in built.needs:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                encoder = Averages(grid, grid.channels, 5)
        found[part] = TrainedPart(data, built, encoder, **of_part.get(part, {}))
    return found


def learner(name, parts=None, backbone=None, **settings):
    settings = Settings(**{"images": 256, "batch": 8, "label_drop": 0.1} | settings)
    return Learner(settings, parts or parts_for(name), backbone or ported(), CPU)


def steps(trained, count):
    source, rows = trained.read(trained.cfg.images), []
    for _ in range(count):
        rows.append(trained.step(source)[1])
        trained.images += trained.batch
    return rows


# Whose turn it is ---------------------------------------------------------------------------------


def test_parts_take_turns_by_their_shares():
    share, n = {"a": 0.57, "b": 0.30, "c": 0.13}, 4000
    turns = Turns(share, seed=3, batch=8)
    seen = turns.seen(8 * n)
    assert sum(seen.values()) == 8 * n
    for part, p in share.items():  # within four standard deviations of a binomial count
        assert abs(seen[part] / 8 - n * p) < 4 * math.sqrt(n * p * (1 - p)), part


def test_turns_are_a_function_of_seed_and_images_alone():
    share = {"a": 2, "b": 6}  # in proportion
    forwards, backwards = Turns(share, 0, 8), Turns({"a": 0.25, "b": 0.75}, 0, 8)
    there = [forwards.at(8 * i) for i in range(50)]
    back = [backwards.at(8 * i) for i in reversed(range(50))][::-1]
    assert there == back and set(there) == {"a", "b"}
    assert Turns(share, 1, 8).seen(400) != forwards.seen(400)
    for images in (0, 8, 80, 400):
        counted = {part: 8 * there[: images // 8].count(part) for part in share}
        assert Turns(share, 0, 8).seen(images) == counted


def test_each_part_goes_through_its_own_data():
    trained = learner("vanilla")
    source, which = trained.read(256), {name: [] for name in GRIDS}
    for images in range(0, 256, 8):
        which[trained.turns.at(images)] += next(source).which.tolist()
    for read in which.values():
        assert sorted(read[:24]) == list(range(24)), "each example once before any comes twice"


# What is shared -----------------------------------------------------------------------------------


def test_a_view_is_the_plain_backbone_of_its_part():
    backbone = ported()
    state = backbone.state_dict()
    assert {key.split(".")[0] for key in state} == {"t_embedder", "blocks", "ports"}
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.08)
    for name, grid in GRIDS.items():
        plain = SiT(grid, TINY, 3)
        plain.load_state_dict(state_of_part(backbone.state_dict(), name), strict=True)
        x = torch.randn(2, grid.tokens, grid.token_dim, generator=draw)
        given = (x, torch.tensor([0.2, 0.7]), torch.tensor([0, 3]))
        assert torch.equal(plain(*given)[0], backbone.views[name](*given)[0])


def test_shared_parameters_are_there_once():
    backbone = ported()
    alone = {name: sum(p.numel() for p in view(name).parameters()) for name in GRIDS}
    shared = shared_parameters(TINY)
    whole = shared + sum(one - shared for one in alone.values())
    assert sum(p.numel() for p in backbone.parameters()) == whole
    copied = copy.deepcopy(backbone)
    views = copied.views.values()
    assert all(one.blocks is copied.blocks and one.t_embedder is copied.t_embedder for one in views)
    assert copied.blocks is not backbone.blocks
    assert all(one.blocks is backbone.blocks for one in backbone.views.values())


def test_a_plain_backbone_has_one_view():
    plain = view("sounds")
    assert views_of(plain) == {"": plain}
    assert state_of_part(plain.state_dict(), "").keys() == plain.state_dict().keys()


def test_a_single_part_learns_what_it_learns_alone():
    alone = Learner(
        Settings(images=256, batch=8), {"": parts_for("selfflow")["videos"]}, view("videos"), CPU
    )
    of_mixed_data = learner("selfflow", parts_for("selfflow", ("videos",)), ported(("videos",)))
    for a, b in zip(steps(alone, 3), steps(of_mixed_data, 3), strict=True):
        assert torch.equal(a, b)
    mine = state_of_part(of_mixed_data.ema.state_dict(), "videos")
    assert all(torch.equal(value, mine[key]) for key, value in alone.ema.state_dict().items())


def test_a_step_moves_what_is_shared_and_the_ports_of_its_part():
    trained = learner("vanilla")
    before = {key: value.clone() for key, value in trained.backbone.state_dict().items()}
    steps(trained, 2)  # at adaLN-Zero's weights the first moves the last layer alone
    (first, second) = trained.turns.at(0), trained.turns.at(8)
    moved = {
        key.split(".")[1] if key.startswith("ports.") else "shared"
        for key, value in trained.backbone.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert moved - {"shared"} == {first, second}


# Heads, weights and lines of metrics --------------------------------------------------------------


def test_heads_are_shared_unless_they_learn_from_a_parts_encoder():
    of_teacher = learner("selfflow")
    assert len({id(arm.heads) for arm in of_teacher.arms.values()}) == 1
    assert set(of_teacher.heads.keys()) == {"projector"}
    of_encoder = learner("repa")
    assert set(of_encoder.heads.keys()) == set(GRIDS)
    assert len({id(arm.heads) for arm in of_encoder.arms.values()}) == 3


def test_a_parts_losses_count_times_its_weight():
    def first_norm(weight):
        every = {name: {"weight": weight} for name in GRIDS}
        trained = learner("vanilla", parts_for("vanilla", **every))
        columns, numbers = trained.step(trained.read(256))
        found = dict(zip(columns, numbers.tolist(), strict=True))
        return found["grad_norm"], found["loss.velocity"]

    (norm, loss), (doubled, same) = first_norm(1.0), first_norm(2.0)
    assert doubled == pytest.approx(2 * norm, rel=1e-6) and same == loss


def test_a_line_says_what_was_seen_of_each_part_and_its_losses():
    trained = learner("selfflow")
    columns, _ = trained.step(trained.read(256))
    turn = columns.index(TURN_COLUMN)
    rows = torch.zeros(3, len(columns))
    rows[:, turn], rows[:, columns.index("loss.velocity")] = (
        torch.tensor([0.0, 2.0, 2.0]),
        (torch.tensor([1.0, 2.0, 4.0])),
    )
    trained.images = 64
    line = trained.of_parts(columns, rows)
    assert line["seen"] == trained.turns.seen(64)
    assert line["loss_of"]["sounds"]["velocity"] == 1 and "pictures" not in line["loss_of"]
    assert line["loss_of"]["videos"]["velocity"] == 3
    alone = Learner(
        Settings(images=64, batch=8), {"": parts_for("vanilla")["sounds"]}, view("sounds"), CPU
    )
    columns, numbers = alone.step(alone.read(64))
    assert TURN_COLUMN not in columns and alone.of_parts(columns, numbers[None]) == {}


# Going on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["selfflow", "repa"])
@pytest.mark.parametrize("stop", [1, 4])
def test_going_on_is_exact(name, stop):
    whole = learner(name)
    steps(whole, 7)
    first = learner(name)
    steps(first, stop)
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = learner(name)
    assert second.fault(state) == ""
    second.load(state)
    steps(second, 7 - stop)
    for kept, found in ((whole.backbone, second.backbone), (whole.heads, second.heads),
                        (whole.ema, second.ema)):  # fmt: skip
        theirs = found.state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in kept.state_dict().items())


def test_another_mixture_is_no_state_of_this_arm():
    state = learner("vanilla", parts_for("vanilla", ("sounds", "videos")),
                    ported(("sounds", "videos"))).state()  # fmt: skip
    assert learner("vanilla").fault(state) == "backbone has not the tensors of this arm"


# The data together --------------------------------------------------------------------------------


def three(**changes):
    given = {"share": None, "weights": None} | changes
    return Mixed("mixed", {name: Random(name, grid) for name, grid in GRIDS.items()}, **given)


def test_shares_and_weights_are_of_the_parts():
    data = three(share={"sounds": 1, "pictures": 2, "videos": 1}, weights={"sounds": 0.2,
                 "pictures": 0.3, "videos": 0.5})  # fmt: skip
    assert data.share == {"sounds": 0.25, "pictures": 0.5, "videos": 0.25}
    assert three().share == dict.fromkeys(GRIDS, pytest.approx(1 / 3))
    assert three().weights == dict.fromkeys(GRIDS, 1.0)
    assert sizes_of(data)["videos/heldout"] == 24 and "3 parts" in found_in(data)
    assert data.grid == max(GRIDS.values(), key=lambda grid: grid.tokens)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"share": {"sounds": 1}}, "data.share names sounds, and the parts are sounds, pictures"),
        ({"share": {**dict.fromkeys(GRIDS, 1), "words": 1}}, "data.share names .*words"),
        ({"share": dict.fromkeys(GRIDS, 0)}, "data.share of sounds is 0: give a number above 0"),
        ({"share": dict.fromkeys(GRIDS, -1)}, "data.share of sounds is -1"),
        ({"weights": dict.fromkeys(GRIDS, True)}, "data.weights of sounds is True"),
        ({"weights": dict.fromkeys(GRIDS, math.nan)}, "data.weights of sounds is nan"),
        ({"weights": {"videos": 1}}, "data.weights names videos, and the parts are"),
        ({"weights": 3}, "data.weights names 3"),
        ({"share": {}}, "data.share names nothing"),
    ],
)
def test_what_is_no_mixture_is_said(changes, said):
    with pytest.raises(ValueError, match=said):
        three(**changes)


def test_a_part_without_data_is_said():
    empty = SimpleNamespace(n_train=0)
    with pytest.raises(ValueError, match=r"data.parts: notes has no training data"):
        Mixed("mixed", {"notes": empty}, None, None)


def test_several_processes_are_refused():
    with pytest.raises(ValueError, match=r"data=mixed is trained in one process, and 2 were star"):
        MixedArm.of(compose(["data=mixed"]), SimpleNamespace(world=2), three())


def test_other_data_or_other_parts_are_another_fingerprint():
    data = three()
    assert data.fingerprint == three(weights={"sounds": 2, "pictures": 1, "videos": 1}).fingerprint
    del data.parts["videos"]
    assert data.fingerprint != three().fingerprint


# What it costs ------------------------------------------------------------------------------------


def test_an_image_costs_the_mean_of_the_parts_by_share():
    built = method("selfflow")
    costs = {name: count(built, grid, TINY, 3) for name, grid in GRIDS.items()}
    share = {"sounds": 0.2, "pictures": 0.3, "videos": 0.5}
    mixed = of_mixed(costs, share, shared_parameters(TINY))
    for group, flops in mixed.flops_per_image.items():
        wanted = sum(share[name] * costs[name].flops_per_image[group] for name in GRIDS)
        assert flops == pytest.approx(wanted)
    trained = learner("selfflow")
    own = sum(p.numel() for p in trained.backbone.parameters())
    assert mixed.parameters["backbone"] + mixed.parameters["ports"] == own
    assert mixed.parameters["teacher"] == own
    assert mixed.parameters["heads"] == sum(p.numel() for p in trained.heads.parameters())
    assert mixed.parts["videos"]["forward_flops"] == costs["videos"].forward_flops
    assert "parts" not in costs["videos"].to_json()


def test_a_term_ends_in_every_part_at_once():
    costs = {name: count(method("repa_stop"), GRIDS[name], TINY, 3,
                         Averages(GRIDS[name], GRIDS[name].channels, 5),
                         (GRIDS[name].channels, *GRIDS[name].shape)) for name in GRIDS}  # fmt: skip
    share = dict.fromkeys(GRIDS, 1 / 3)
    mixed = of_mixed(costs, share, shared_parameters(TINY))
    assert mixed.ends == costs["sounds"].ends
    assert mixed.flops_per_image_after["total"] < mixed.flops_per_image["total"]
    heads = [cost.parameters["heads"] for cost in costs.values()]
    assert mixed.parameters["heads"] == sum(heads), "each part has its own"


def test_a_text_may_be_a_part():
    views = {"words": SiT(GRIDS["pictures"], TINY, Bytes(4)), "sounds": view("sounds")}
    backbone = Ported(views)
    assert backbone.views["words"].condition == Bytes(4)
    assert backbone.views["sounds"].condition == Classes(3)
    assert isinstance(Method(), Method)
