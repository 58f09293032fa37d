"""Every method trains on every registered data set of every modality, and on grids of one, two and
three axes: none learns what it trains.
"""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.io import wavfile
from support.arms import method
from support.autoencoders import encoded, save_flux2, save_oobleck, save_wan
from support.evaluations import save_rae, save_vae
from support.robots import CAMERA, episodes_of_a_dot, write_lerobot
from support.runs import ROOT
from support.worlds import corridor, need_metaworld, need_minigrid, plane

from bench.config.compose import compose
from bench.config.groups import build, modalities, options
from bench.core.data.base import PictureData
from bench.core.data.mixed import parts_of
from bench.core.model.backbone import SiT
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.model.ports import Ported
from bench.core.model.sizes import SIZES, Size
from bench.core.model.streams import generator
from bench.core.model.tokens import TokenGrid
from bench.core.train import distributed
from bench.core.train.learner import Learner
from bench.core.train.parts import TrainedPart
from bench.core.train.settings import Settings

METHODS = options("method")
TINY = Size("nano", 4, 16, 2)
# A recipe that was searched, and whose study is committed, before the rule was known (LOG.md).
# Of RAE, a network at least as wide as a token is what its authors ask for (arXiv 2510.11690).
WIDE = {"cifar10_16", "imagenet256_rae"}


class AnyEncoder(Encoder):
    """Averages of any data over the token grid through a fixed random map."""

    attends = True

    def __init__(self, grid, channels):
        super().__init__(EncoderCard("any", "stand-in", "nothing", ""))
        self.width, self.grid = 12, grid.grid
        self.map = torch.nn.Linear(channels, self.width, bias=False)
        self.freeze()

    @torch.no_grad()
    def forward(self, images, attention_of=()):
        axes = len(self.grid)
        pool = (torch.nn.functional.adaptive_avg_pool1d, torch.nn.functional.adaptive_avg_pool2d)
        pool = (*pool, torch.nn.functional.adaptive_avg_pool3d)[axes - 1]
        patches = self.map(pool(images.float() / 255, self.grid).flatten(2).transpose(1, 2))
        maps = (patches @ patches.transpose(1, 2))[:, None].expand(-1, 2, -1, -1)
        return EncoderFeatures(patches, None, self.grid, (maps,) * len(attention_of))


def picture_folder(root, *splits):
    """Eight pictures of 8 x 8 a class, below each of these folders."""
    draw = np.random.default_rng(0)
    for split in splits:
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for i in range(8):
                pixels = draw.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return [f"data.root={root}", "data.size=8"]


def sound_folder(root, *splits):
    """Eight noises of a quarter of a second a class, below each of these folders."""
    draw = np.random.default_rng(0)
    for split in splits:
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for i in range(8):
                samples = draw.integers(-9999, 9999, 2000, dtype=np.int16)
                wavfile.write(root / split / name / f"{i}.wav", 8000, samples)
    return [f"data.root={root}"]


def recordings(root, *words):
    """Twelve episodes of a robot."""
    write_lerobot(root, episodes_of_a_dot(length=9))
    return [f"data.root={root}", "data.heldout=0.2", *words]


def video_folder(root):
    """Eight films of four frames a class, as folders of pictures and as animations in turn."""
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        for i in range(8):
            drawn = draw.integers(0, 256, size=(4, 8, 8, 3), dtype=np.uint8)
            first, *others = (Image.fromarray(pixels) for pixels in drawn)
            (root / name / str(i)).mkdir(parents=True)
            if i % 2:
                (root / name / str(i)).rmdir()
                first.save(root / name / f"{i}.webp", save_all=True, append_images=others)
            else:
                for t, frame in enumerate((first, *others)):
                    frame.save(root / name / str(i) / f"{t}.png")
    return [f"data.root={root}", "data.size=8", "data.frames=4"]


def captioned_folder(root):
    root.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for i in range(40):
        pixels = draw.integers(0, 256, size=(12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
        colour, shape = ("red", "blue")[i % 2], ("circle", "square", "cross")[i % 3]
        text = f"a {colour} {shape}, number {i}"
        (root / f"{i}.txt").write_text(text, encoding="utf-8")
    return [f"data.root={root}", "data.size=8"]


def emoji_folder(root):
    package = root / "package"
    (package / "img" / "twitter" / "64").mkdir(parents=True)
    draw, listed = np.random.default_rng(0), []
    for i in range(40):
        pixels = draw.integers(0, 256, size=(64, 64, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(package / "img" / "twitter" / "64" / f"{i}.png")
        entry = {"name": f"FACE {i}", "category": ("Faces", "Flags")[i % 2], "image": f"{i}.png"}
        listed.append(entry | {"has_img_twitter": True})
    (package / "emoji.json").write_text(json.dumps(listed), encoding="utf-8")
    return [f"data.root={root}"]


def latent_folder(root):
    draw = np.random.default_rng(0)
    for split, n in (("train", 16), ("heldout", 4)):
        (root / split).mkdir(parents=True)
        moments = abs(draw.normal(size=(n, 8, 8, 8))).astype(np.float32)
        np.save(root / split / "moments.npy", moments)
        np.save(root / split / "labels.npy", np.arange(n) % 3)
        pictures = draw.integers(0, 256, size=(n, 3, 64, 64), dtype=np.uint8)
        np.save(root / split / "images.npy", pictures)
    return [f"data.root={root}", "data.classes=3"]


def latents_of(root, key, vae, *words):
    """A folder of latents that bench.latents makes with a small autoencoder."""
    out, decoder = encoded(root, key, vae=vae)
    return [f"data.root={out}", f"data.decoder={decoder}", *words]


# What each data set is told so that a small one is there.
SETS = {
    "digits": lambda root: [],
    "captions": captioned_folder,
    "emoji": emoji_folder,
    "folder": lambda root: picture_folder(root, "."),
    "cifar10": lambda root: picture_folder(root, "train", "test"),
    "cifar10_16": lambda root: picture_folder(root, "train", "test"),
    "imagenet256": latent_folder,
    "imagenet256_rae": lambda root: [
        *picture_folder(root, "train", "test"),
        f"data.decoder={save_rae(root.parent / 'rae')}",
        "data.size=32",
    ],
    "imagenet256_flux2": lambda root: latents_of(root, "pictures", save_flux2, "data.classes=2"),
    "captions_sdvae": lambda root: latents_of(root, "captions", save_vae),
    "captions_flux2": lambda root: latents_of(root, "captions", save_flux2),
    "clips_wan22": lambda root: latents_of(root, "clips", save_wan, "data.classes=2"),
    "sounds_oobleck": lambda root: latents_of(root, "sounds", save_oobleck, "data.classes=2"),
    "words": lambda root: ["data.count=32", "data.heldout_words=4"],
    "notes": lambda root: ["data.count=40", "data.heldout_count=20"],
    "sounds": lambda root: sound_folder(root, "."),
    "spoken_digits": lambda root: sound_folder(root, "train", "test"),
    "clips": video_folder,
    "moving_digits": lambda root: ["data.count=40", "data.heldout_count=20"],
    "minigrid": lambda root: ["data.episodes=12", "data.heldout_episodes=4"],
    "metaworld": lambda root: [
        "data.tasks=[reach]",
        *("data.episodes=4", "data.heldout_episodes=2"),
    ],
    "lerobot": lambda root: recordings(root, "data.size=16"),
    "rt1": lambda root: recordings(root, f"data.camera={CAMERA}", "data.size=32"),
    "mixed": lambda root: [
        f"data.parts.{part}.{key}=20"
        for part in ("moving_digits", "notes")
        for key in ("count", "heldout_count")
    ],
}


OF_PACKAGES = {"minigrid": need_minigrid, "metaworld": need_metaworld}  # which are extras


# What a method is told beside its YAML: layers that so small a backbone has, a group of eight.
TOLD = {
    "haste": {"student_layers": [0], "teacher_layers": [2], "stop_images": 100},
    "dispersive": {"group": 8},
}


def one_step(name, data):
    """A step of an arm on eight examples of each kind of data changes its weights, and nothing in
    it is not finite.
    """
    built, parts = method(name, **TOLD.get(name, {})), {}
    for part, one in parts_of(data).items():
        needs = "clean" in built.needs
        channels = one.images("train", slice(0, 1)).shape[1]
        encoder = AnyEncoder(one.grid.seen, channels) if needs else None
        parts[part] = TrainedPart(one, built, encoder)
    views = {
        part: SiT(one.data.grid, TINY, one.data.condition).initialise(generator(0, "init", 0))
        for part, one in parts.items()
    }
    backbone = Ported(views) if len(views) > 1 else views[""]
    processes = distributed.Processes(0, 1, torch.device("cpu"))
    learner = Learner(Settings(images=320, batch=8), parts, backbone, processes)
    source, left = learner.read(until=320), set(parts)
    while left:
        left -= {learner.turn}
        before = [p.detach().clone() for p in learner.parameters]
        columns, numbers = learner.step(source)
        learner.images += 8
        assert torch.isfinite(numbers).all(), dict(zip(columns, numbers, strict=True))
        after = learner.parameters
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert all(torch.isfinite(p).all() for p in after)


def test_every_data_set_is_tried():
    assert set(SETS) == set(options("data"))
    for name in SETS:
        data = compose([f"data={name}"]).data
        for one in data.parts.values() or [data]:
            assert one.modality in modalities(), name


@pytest.mark.parametrize("kind", options("data"))
def test_every_method_takes_a_step_on(kind, tmp_path):
    if kind in OF_PACKAGES:
        OF_PACKAGES[kind]()
    option = compose([f"data={kind}", *SETS[kind](tmp_path / "data")]).data
    data = build(option, cache=tmp_path / "cache")
    for name in METHODS:
        one_step(name, data)


class Random(PictureData):
    """Bytes of any shape, as sounds [n, M, T] and clips [n, 3, T, H, W] are."""

    def __init__(self, grid):
        draw = torch.Generator().manual_seed(0)
        kept = torch.randint(0, 256, (16, grid.channels, *grid.shape), generator=draw)
        labels = torch.arange(16) % 3
        parts = ("train", "heldout")
        pictures = {split: kept.to(torch.uint8) for split in parts}
        super().__init__("random", grid, 3, pictures, dict.fromkeys(parts, labels))


@pytest.mark.parametrize(
    "grid",
    [
        TokenGrid((6,), 1, 8),
        TokenGrid((4, 6), (2, 3), 1),
        TokenGrid((4, 8, 4), (2, 4, 2), 3),
    ],
    ids=["one axis", "two axes", "three axes"],
)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_a_step_on_grids_of(grid, name):
    one_step(name, Random(grid))


@pytest.mark.parametrize("world", [corridor, plane], ids=["choices", "numbers"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_a_step_on_demonstrations(name, world):
    one_step(name, world())


@pytest.mark.parametrize("name", options("data"))
def test_a_token_has_at_most_half_as_many_numbers_as_the_recipes_width(name):
    said = yaml.safe_load((ROOT / "bench/conf/data" / f"{name}.yaml").read_text(encoding="utf-8"))
    width = SIZES[said["recipe"]["size"]].width
    if "shape" in said["recipe"]:
        *cells, channels = said["recipe"]["shape"]
        patch = said.get("patch", 1)
        patch = patch if isinstance(patch, int) else tuple(patch)
        numbers = TokenGrid(tuple(cells), patch, channels).token_dim
    elif name in ("folder", "captions", "emoji"):  # of whatever size, in colour
        numbers = 3 * said["patch"] ** 2
    elif "bands" in said:
        numbers = said["bands"] * said["patch"]
    elif name == "clips":
        numbers = 3 * said["patch"] ** 3
    elif name == "minigrid":  # 2 x 2 pixels in colour, and six actions
        numbers = 3 * 2 * 2 + 6
    elif name == "metaworld":  # pixels in colour, and four numbers of an action
        numbers = 3 * said["patch"] ** 2 + 4
    elif name in ("lerobot", "rt1"):  # and as many as a robot has joints
        numbers = 3 * said["patch"] ** 2
    else:
        data = build(compose([f"data={name}"]).data)
        numbers = max(part.grid.token_dim for part in parts_of(data).values())
    assert (numbers <= width / 2) == (name not in WIDE), (numbers, width)


def test_the_share_of_masked_tokens_follows_from_the_modality():
    ratios = {name: said["mask_ratio"] for name, said in modalities().items()}
    of_policies = ratios.pop("policy")  # no paper says one
    assert ratios == {"picture": 0.25, "video": 0.1, "sound": 0.5}  # arXiv 2603.06507, 4.1 to 4.3
    assert of_policies == ratios["picture"]
    for name in ("selfflow", "dual_timestep", "full_masking"):
        cfg = compose([f"method={name}"])
        assert cfg.method.values["mask_ratio"] == ratios[cfg.data.modality]
    assert compose(["method=selfflow", "method.mask_ratio=0.3"]).method.values["mask_ratio"] == 0.3


def test_a_modality_is_no_word_of_ones_own():
    with pytest.raises(ValueError, match="say data=NAME"):
        compose(["data.modality=video"])


def test_a_patch_may_be_said_for_each_axis():
    grid = build(compose(["data.patch=[4,2]"]).data).grid
    assert grid.patches == (4, 2) and grid.grid == (2, 4)
    with pytest.raises(ValueError, match=r"data.patch=x is not a whole number"):
        compose(["data.patch=[4,x]"])
    with pytest.raises(ValueError, match=r"data.patch=0 is outside"):
        compose(["data.patch=[4,0]"])
    with pytest.raises(ValueError, match=r"give data.patch one whole number from 1, or 2 of them"):
        build(compose(["data.patch=[4,2,2]"]).data)
