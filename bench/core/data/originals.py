"""What latents are made from: pictures, pictures with captions, videos and sounds; where they are
found, how one is read for an autoencoder, and what of it is kept beside its latent.

    original = FirstFrames(frames=45, rate=24, size=256, skip_damaged=False)
    splits, said = original.find(Path("UCF-101"), heldout=0.1)
    clip = original.read(splits["train"], 17)          # uint8 [3, 45, 256, 256]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from bench.core.data.base import described
from bench.core.data.captions import Captioned, find_captions, kinds, split_captions
from bench.core.data.class_folders import ClassFolders
from bench.core.data.clips import VIDEO, Clips
from bench.core.data.film_files import read_film
from bench.core.data.folder import PICTURE
from bench.core.data.sounds import SOUND, as_bytes
from bench.core.data.sources import LabelledPictures, find_pictures
from bench.core.data.spectrogram import Spectrogram
from bench.core.data.wav import read_waves
from bench.core.model.tokens import TokenGrid

LONGEST_CAPTION = 4096  # bytes that are kept of one; how many a model is told, its data set says
BothSplits = tuple[dict[str, LabelledPictures], str]


class Original(Protocol):
    """one: what an example is called; at_once: how many are encoded together."""

    one: ClassVar[str]
    at_once: ClassVar[int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example, [channels, *axes]."""
        ...

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """Of what is kept of it."""
        ...

    def find(self, root: Path, heldout: float) -> BothSplits:
        """The examples of both splits below a folder, and what was found, in words; heldout: share
        that is held out where no split is. Raises ValueError for what cannot be used.
        """
        ...

    def read(self, source: LabelledPictures, place: int) -> np.ndarray:
        """One of a split. Raises ValueError naming one that cannot be read."""
        ...

    def kept(self, examples: Tensor) -> Tensor:
        """Of examples [n, *shape], what encoders and people are shown, uint8 [n, *kept_shape]."""
        ...

    def facts(self) -> dict[str, object]:
        """All that what is read depends on: another of these makes another folder."""
        ...


def adm_crop(image: Image.Image, size: int) -> np.ndarray:
    """A picture as uint8 [size, size, 3]: ADM's center_crop_arr (guided-diffusion,
    image_datasets.py).
    """
    image = image.convert("RGB")
    while min(image.size) >= 2 * size:
        image = image.resize((image.size[0] // 2, image.size[1] // 2), Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize(
        (round(image.size[0] * scale), round(image.size[1] * scale)), Resampling.BICUBIC
    )
    top, left = (image.size[1] - size) // 2, (image.size[0] - size) // 2
    return np.asarray(image)[top : top + size, left : left + size]


@dataclass(frozen=True)
class CroppedPictures:
    """Labelled pictures, cropped as ADM does. size: pixels of a side."""

    size: int
    one: ClassVar[str] = PICTURE.one
    at_once: ClassVar[int] = 64

    @property
    def shape(self) -> tuple[int, ...]:
        return 3, self.size, self.size

    kept_shape = shape

    def find(self, root: Path, heldout: float) -> BothSplits:
        return find_pictures(root, heldout)

    def read(self, source: LabelledPictures, place: int) -> np.ndarray:
        return adm_crop(source.read(place, self.size), self.size).transpose(2, 0, 1).copy()

    def kept(self, examples: Tensor) -> Tensor:
        return examples

    def facts(self) -> dict[str, object]:
        return {"size": self.size}


@dataclass(frozen=True)
class CaptionedPictures(CroppedPictures):
    """Pictures with captions, NAME.txt beside NAME.png or in tars, cropped likewise; labels are the
    captions' kinds (`bench.core.data.captions`).
    """

    def find(self, root: Path, heldout: float) -> BothSplits:
        found, remarks = find_captions(root, LONGEST_CAPTION)
        splits = split_captions(found, root, heldout)
        texts = {split: [one.text for one in of] for split, of in splits.items()}
        names, labels = kinds(texts)
        counts = " and ".join(f"{len(of)} {split}" for split, of in splits.items())
        said = f"{counts} pictures with captions of {len(names)} kinds: {', '.join(names)}"
        listed = {split: _listed(root, of, labels[split].numpy()) for split, of in splits.items()}
        return listed, "; ".join([said, *remarks])


def _listed(root: Path, of_split: Sequence[Captioned], labels: np.ndarray) -> LabelledPictures:
    paths = list(dict.fromkeys(one.picture for one in of_split))
    number = {path: i for i, path in enumerate(paths)}
    return LabelledPictures(
        root,
        "tar" if any(one.size for one in of_split) else "file",
        [str(path.relative_to(root)) for path in paths],
        np.array([number[one.picture] for one in of_split]),
        np.array([(one.first, one.size) for one in of_split], np.int64),
        labels,
        [one.text for one in of_split],
    )


@dataclass(frozen=True)
class FirstFrames:
    """Videos in class folders. frames: of a clip, its first ones; rate: of them a second, None as
    they come; size: pixels of a side after resizing the short side and cropping the centre;
    skip_damaged: leave out and name what cannot be read or is too short.
    """

    frames: int
    rate: float | None
    size: int
    skip_damaged: bool
    one: ClassVar[str] = VIDEO.one
    at_once: ClassVar[int] = 2

    @property
    def shape(self) -> tuple[int, ...]:
        return 3, self.frames, self.size, self.size

    kept_shape = shape

    def find(self, root: Path, heldout: float) -> BothSplits:
        of_clip = (self.frames, self.rate, self.size)
        many = Clips(VIDEO.one, str(root), *of_clip, 1, heldout, self.skip_damaged, False)
        return LabelledPictures.of_files(many), described(many)

    def read(self, source: LabelledPictures, place: int) -> np.ndarray:
        return read_film(source.path(place), self.frames, self.rate, self.size).numpy()

    def kept(self, examples: Tensor) -> Tensor:
        return examples

    def facts(self) -> dict[str, object]:
        return {"frames": self.frames, "rate": self.rate, "size": self.size}


@dataclass(frozen=True)
class FirstSeconds:
    """Recordings in class folders, as waves; kept is their log-mel spectrogram, a frame a latent.

    rate, channels: of the autoencoder's waves; stride: samples of a latent; latents: of a sound,
    which is cut or filled with silence; bands: of the spectrogram; resample: files of other rates
    are brought to this one; skip_damaged: as of videos.
    """

    rate: int
    channels: int
    stride: int
    latents: int
    bands: int
    resample: bool
    skip_damaged: bool
    one: ClassVar[str] = SOUND.one
    at_once: ClassVar[int] = 16

    @cached_property
    def spectrogram(self) -> Spectrogram:
        """The view of a sound that is kept."""
        return Spectrogram(self.rate, self.stride, 2 * self.stride, self.bands, self.latents)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, self.stride * self.latents

    @property
    def kept_shape(self) -> tuple[int, ...]:
        return self.bands, self.latents

    def find(self, root: Path, heldout: float) -> BothSplits:
        many = _SoundFiles(str(root), self, heldout)
        return LabelledPictures.of_files(many), described(many)

    def read(self, source: LabelledPictures, place: int) -> np.ndarray:
        return self.waves(source.path(place)).numpy()

    def waves(self, path: Path) -> Tensor:
        """A file, float32 `shape`."""
        samples = self.stride * self.latents
        return read_waves(path, self.rate, self.channels, samples, self.resample)

    def kept(self, examples: Tensor) -> Tensor:
        return as_bytes(self.spectrogram.levels(examples.mean(dim=1)))

    def facts(self) -> dict[str, object]:
        return {
            "rate": self.rate,
            "channels": self.channels,
            "latents": self.latents,
            "resample": self.resample,
            "spectrogram": asdict(self.spectrogram),
        }


class _SoundFiles(ClassFolders):
    """Class folders of WAV files, listed, and read where damaged ones are left out."""

    kind = SOUND

    def __init__(self, root: str, how: FirstSeconds, heldout: float):
        self.how = how
        grid = TokenGrid((how.latents,), 1, how.bands)
        shape, skip = how.kept_shape, how.skip_damaged
        super().__init__(SOUND.one, root, grid, shape, how, heldout, skip, False)

    def read(self, path: Path) -> Tensor:
        return self.how.waves(path)
