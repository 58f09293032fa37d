"""Data sets: pictures and labels in, tokens out; a fixed stratified split; one conversion to uint8
and back.

`DataSet` is what the rest of the house uses of one. `PictureData` holds uint8 pictures in memory
(or reads them through `pictures`), and turns them into tokens in [-1, 1]. The default, `digits`, is
on every machine that has scikit-learn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.core.data.pictures import readable
from bench.core.model.conditions import Classes, Condition, Prompts
from bench.core.model.streams import Draw, data_order
from bench.core.model.tokens import TokenGrid

Indices = Tensor | np.ndarray | slice
"""Which examples of a split, by their place in it."""

NAMES_SHOWN = 10  # classes that are named each where data are described
ROUNDINGS = ("round_half_up", "truncate")


def pixels_to_uint8(pixels: Tensor, rounding: str) -> Tensor:
    """Values in [-1, 1] (others are clamped) -> uint8: the one place where samples become pictures.

    rounding: round_half_up, clamp(127.5 x + 128, 0, 255) and cast, as SiT; truncate, (x + 1) / 2 x
    255 and cast, as REPA and Self-Flow. FID sees the difference. Raises ValueError for another one.
    """
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding={rounding} is unknown (choices: {', '.join(ROUNDINGS)})")
    scaled = 127.5 * pixels + 128 if rounding == "round_half_up" else (pixels + 1) / 2 * 255
    return scaled.clamp(0, 255).to(torch.uint8)


def pictures_of(pixels: Tensor, rounding: str) -> tuple[Tensor, Tensor]:
    """Pixels [n, 1 or 3, H, W] -> pictures uint8 [n, 3, H, W], and which of them were finite
    throughout, bool [n]; of videos likewise [n, 3, T, H, W]; spectrograms [n, bands, frames] stay
    as many numbers.

    Numbers that are not finite become grey, so that a picture can be looked at; it is not one to
    measure.
    """
    finite = torch.isfinite(pixels).flatten(1).all(dim=1)
    pictures = pixels_to_uint8(torch.nan_to_num(pixels, posinf=0.0, neginf=0.0), rounding)
    sides = pictures.shape[2:]
    return (pictures if len(sides) == 1 else pictures.expand(-1, 3, *sides)), finite


def shown(images: Tensor) -> Tensor:
    """Data as encoders read them, uint8 -> pictures uint8 [n, 3, H, W] for people: pictures as they
    are, spectrograms [n, bands, frames] with the lowest band at the bottom, and the frames of
    videos [n, 3, T, H, W] side by side.
    """
    if images.ndim == 3:
        return images.flip(1)[:, None].expand(-1, 3, -1, -1)
    return images if images.ndim == 4 else images.transpose(2, 3).flatten(3)


class Heard(NamedTuple):
    """Data that people hear: waves float32 [n, samples] in -1..1, rate: samples a second."""

    waves: Tensor
    rate: int


class Waves(NamedTuple):
    """Recordings as encoders hear them: samples float32 [n, m], rate of them a second; times: where
    each token has its middle, in seconds [N].
    """

    samples: Tensor
    rate: int
    times: Tensor


class Examples(NamedTuple):
    """Training examples as they are read.

    which: their places in the split [B]; stored: tokens, or what tokens are drawn from; condition:
    int64 [B, ...]; clean: as an encoder reads them, uint8 [B, 3, H, W] of pictures, [B, 3, T, H, W]
    of videos, [B, bands, frames] of sounds or their waves, float32 [B, samples], where a method
    needs them; patches: an encoder's patch tokens [B, N, W_enc], where they were computed before.
    """

    which: Tensor
    stored: Tensor
    condition: Tensor
    clean: Tensor | None
    patches: Tensor | None = None


class DataSet(Protocol):
    """What training, measuring and encoders use of a data set. Splits are "train" and "heldout".

    name: as results say it; noun: what one example is called; grid: how data become tokens;
    condition: what a model of them is told of each example, the class where nothing else is said;
    classes: number of labels; class_names: of each, empty where they are not known; remarks:
    sentences on how the data were understood; in_memory: False where batches are read from disk,
    by worker processes where `decodes` is true, since that is work; latent: tokens are an
    autoencoder's latents and not made from the picture.
    """

    name: str
    noun: str
    grid: TokenGrid
    classes: int
    class_names: Sequence[str]
    remarks: Sequence[str]
    in_memory: bool
    decodes: bool
    latent: bool

    @property
    def condition(self) -> Condition: ...

    @property
    def prompts(self) -> Prompts:
        """What samples are asked for: each class, or the held-out texts."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the content: pictures, labels, split and grid."""
        ...

    @property
    def n_train(self) -> int: ...

    @property
    def n_heldout(self) -> int: ...

    @property
    def has_pictures(self) -> bool:
        """Whether `images` has something to give: of latents, the pictures may be elsewhere."""
        ...

    def size(self, split: str) -> int:
        """Number of examples of a split."""
        ...

    def images(self, split: str, indices: Indices = slice(None)) -> Tensor:
        """uint8 [n, 3, H, W] of pictures, [n, 3, T, H, W] of videos, [n, bands, frames] of sounds.
        Raises ValueError where there are none.
        """
        ...

    def waves(self, split: str, indices: Indices = slice(None)) -> Waves:
        """The recordings of sounds. Raises ValueError for data that nobody hears."""
        ...

    def labels(self, split: str, indices: Indices = slice(None)) -> Tensor:
        """int64 [n]."""
        ...

    def conditions(self, split: str, indices: Indices = slice(None)) -> Tensor:
        """Rows of `condition`, int64 [n, ...]."""
        ...

    def tokens(self, split: str, indices: Indices = slice(None)) -> Tensor:
        """float32 [n, N, C], the same at every call: what held-out losses and probes read."""
        ...

    def order(self, seed: int, first: int, count: int) -> Tensor:
        """Which training examples the `count` after `first` seen are, int64 [count]."""
        ...

    def examples(self, index: Tensor, with_clean: bool) -> Examples:
        """Training examples, each read once."""
        ...

    def draw(self, stored: Tensor, draw: Draw) -> Tensor:
        """Tokens [B, N, C] to train on, from what `examples` stored."""
        ...

    def decode(self, tokens: Tensor, precision: str = "float32") -> Tensor:
        """Tokens [n, N, C] -> pixels float32 [n, 1 or 3, H, W], with T in front of H for videos, or
        levels [n, bands, frames], [-1, 1] and beyond; precision: of an autoencoder, float32 or
        bf16.
        """
        ...

    def heard(self, tokens: Tensor) -> Heard | None:
        """What is heard of tokens [n, N, C]; None of data that nobody hears."""
        ...

    def decoded_by(self) -> dict[str, str]:
        """What else turns tokens into pictures, for the record of samples: nothing,
        where pixels are tokens.
        """
        ...

    def fingerprints(self) -> dict[str, str]:
        """What a resumed run compares: of these, those that both starts have."""
        ...


def read_by_encoder(
    data: DataSet, hears: bool, split: str, indices: Indices = slice(None)
) -> Tensor:
    """What an encoder is given of examples: their bytes as `images`, or, where it hears, `waves`.

    Raises ValueError where there is none.
    """
    if hears:
        return data.waves(split, indices).samples
    return torch.as_tensor(data.images(split, indices))


def described(data: DataSet) -> str:
    """What was found, in words that show at a glance whether the folders were understood:
    "1797 pictures of 10 classes: 0, 1, ... (1197 training, 600 held out)".
    """
    names = [readable(name) for name in data.class_names]
    if len(names) > NAMES_SHOWN:
        names[NAMES_SHOWN - 1 : -1] = ["..."]
    classes = f"{data.classes} class{'es' if data.classes > 1 else ''}{': ' if names else ''}"
    counts = f"({data.n_train} training, {data.n_heldout} held out)"
    found = f"{data.n_train + data.n_heldout} {data.noun}s of {classes}{', '.join(names)} {counts}"
    return "; ".join([found, *data.remarks])


class PictureData:
    """Pictures in memory, uint8 [n, 3, H, W], or other data of bytes, [n, channels, *axes], with
    labels, split into train and held-out.

    grid: how they become tokens; a grid of one channel takes the first channel (grey pictures are
    stored three times).
    """

    noun = "picture"
    in_memory = True
    decodes = True
    latent = False
    has_pictures: bool = True
    remarks: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        grid: TokenGrid,
        classes: int,
        pictures: dict[str, Tensor],
        labels: dict[str, Tensor],
        class_names: Sequence[str] = (),
    ):
        self.name, self.grid, self.classes = name, grid, classes
        self.class_names = class_names
        self._pictures, self._labels = pictures, labels

    def size(self, split: str) -> int:
        return len(self._labels[split])

    @property
    def n_train(self) -> int:
        return self.size("train")

    @property
    def n_heldout(self) -> int:
        return self.size("heldout")

    def images(self, split: str, indices: Indices = slice(None)) -> Tensor:
        return self._pictures[split][indices]

    def waves(self, split: str, indices: Indices = slice(None)) -> Waves:
        raise ValueError(f"{self.name} are {self.noun}s, and there is nothing to hear of them")

    def labels(self, split: str, indices: Indices = slice(None)) -> Tensor:
        return self._labels[split][indices]

    @property
    def condition(self) -> Condition:
        return Classes(self.classes)

    @property
    def prompts(self) -> Prompts:
        return Prompts.of_classes(self.classes)

    def conditions(self, split: str, indices: Indices = slice(None)) -> Tensor:
        return self.labels(split, indices)

    def tokens(self, split: str, indices: Indices = slice(None)) -> Tensor:
        return self.to_tokens(self.images(split, indices))

    def to_tokens(self, images: Tensor) -> Tensor:
        """uint8 [n, 3, H, W] -> x / 127.5 - 1 as tokens [n, N, C]."""
        return self.grid.patchify(images[:, : self.grid.channels].float() / 127.5 - 1)

    def order(self, seed: int, first: int, count: int) -> Tensor:
        return data_order(seed, first, count, self.n_train)

    def examples(self, index: Tensor, with_clean: bool) -> Examples:
        image, condition = self.images("train", index), self.conditions("train", index)
        return Examples(index, self.to_tokens(image), condition, image if with_clean else None)

    def draw(self, stored: Tensor, draw: Draw) -> Tensor:
        return stored

    def decode(self, tokens: Tensor, precision: str = "float32") -> Tensor:
        return self.grid.unpatchify(tokens.float())

    def heard(self, tokens: Tensor) -> Heard | None:
        return None

    def decoded_by(self) -> dict[str, str]:
        return {}

    def fingerprints(self) -> dict[str, str]:
        return {"data": self.fingerprint}

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.grid).encode())
        for split in ("train", "heldout"):
            digest.update(self._pictures[split].numpy().tobytes())
            digest.update(self._labels[split].numpy().tobytes())
        return digest.hexdigest()[:16]


def stratified_split(
    labels: np.ndarray, heldout: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, held-out), every class in proportion, fixed by the seed; sorted."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        np.arange(len(labels)), test_size=heldout, stratify=labels, random_state=seed
    )
    return np.sort(train), np.sort(test)


class Digits(PictureData):
    """scikit-learn's scanned digits, 8x8 grey 0..16: 1,197 for training, 600 held out.

    Tokens are x / 8 - 1.
    """

    def __init__(self, name: str, patch: int):
        from sklearn.datasets import load_digits

        raw: Any = load_digits()
        train, heldout = stratified_split(raw.target, 600)
        # 0..16 as uint8: round(v * 255 / 16); the sixteen greys stay apart and `to_tokens` gives
        # them back exactly
        grey = torch.from_numpy(np.rint(raw.images * (255 / 16)).astype(np.uint8))
        labels = torch.from_numpy(raw.target.astype(np.int64))
        split = {"train": torch.from_numpy(train), "heldout": torch.from_numpy(heldout)}
        pictures = {part: grey[i][:, None].repeat(1, 3, 1, 1) for part, i in split.items()}
        of_split = {part: labels[i] for part, i in split.items()}
        names = tuple(str(digit) for digit in range(10))
        super().__init__(name, TokenGrid((8, 8), patch, 1), 10, pictures, of_split, names)

    def to_tokens(self, images: Tensor) -> Tensor:
        values = (images[:, :1].float() * (16 / 255)).round()
        return self.grid.patchify(values / 8 - 1)
