"""Pictures, videos and sounds as an autoencoder's latents, once, in shards (form:
`bench.core.data.shards`): what data=imagenet256 and its like read.

Pictures are cropped as ADM does (halved by averaging while twice too large, then bicubic, then the
centre), which is what SiT and REPA train on; how others are read is told in
`bench.core.data.originals`. With flips each training example's mirror image is encoded too. Any
number of processes makes a folder together: each takes the next shard that nobody has, by a lease,
and what is whole stays whole.

    python -m bench.latents pictures=ILSVRC2012 out=latents vae=runs/cache/vae/sd-vae-ft-ema
    python -m bench.latents clips=UCF-101 out=clip_latents vae=runs/cache/vae/wan22
"""

from __future__ import annotations

import importlib.metadata
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.core.data.codecs import Codec
from bench.core.data.originals import CroppedPictures, Original
from bench.core.data.pictures import DECODER
from bench.core.data.shards import (
    DTYPES,
    INDEX_FILE,
    LABELS_FILE,
    TEXTS_FILE,
    Index,
    SplitIndex,
    read_shard,
    write_index,
    write_shard,
)
from bench.core.data.sources import LabelledPictures, as_utf8
from bench.core.store.cache import cached_folder
from bench.core.store.files import atomic, file_hash, read_json, write_json
from bench.core.store.lease import Lease, Leases

BLOCK_OF_PICTURES = 64
MOST_OF_SHARD = 4096  # examples
SHARD_BYTES = 4 * 1024**3  # of a shard that is as large as fits, held in memory until it is whole
PLAN = "plan"  # the folder that says what is made, and who makes what
TRIED = 16  # examples that are encoded for the estimate


@dataclass(frozen=True)
class Encoding:
    """How examples are encoded. codec: by what; original: how they are read; images: keep of each
    what encoders and people are shown; flips: the mirror image of each training example too;
    per_shard: examples, 0 for as many as fit into `SHARD_BYTES`; workers: processes that read.

    Raises ValueError for what the autoencoder cannot encode.
    """

    codec: Codec
    original: Original
    images: bool
    flips: bool
    per_shard: int
    workers: int

    def __post_init__(self) -> None:
        if self.flips and len(self.original.shape) < 3:
            raise ValueError("flips=true mirrors pictures, and a sound has no mirror image")
        assert self.cells, "what cannot be encoded is refused here, before anything is read"
        if not self.per_shard:
            fits = SHARD_BYTES // self.bytes_of("train", 1)
            most = min(MOST_OF_SHARD, 2 ** max(0, int(fits).bit_length() - 1))
            object.__setattr__(self, "per_shard", most)

    @cached_property
    def cells(self) -> tuple[int, ...]:
        """The shape of a latent, [C, *cells]."""
        return self.codec.cells(self.original.shape)

    @property
    def block(self) -> int:
        """Examples that are encoded together."""
        return min(BLOCK_OF_PICTURES, self.original.at_once)

    def shapes(self, split: str) -> dict[str, tuple[int, ...]]:
        """Of a row of each array of a split."""
        latent = (2 * self.cells[0], *self.cells[1:])
        found: dict[str, tuple[int, ...]] = {"moments": latent}
        found |= {"mirrored": latent} if self.flips and split == "train" else {}
        return found | ({"images": self.original.kept_shape} if self.images else {})

    def bytes_of(self, split: str, count: int) -> int:
        """What so many examples take on the disk."""
        shapes = self.shapes(split).items()
        return count * sum(int(np.prod(row)) * DTYPES[name].itemsize for name, row in shapes)

    def facts(self) -> dict[str, object]:
        """What a folder is made with: another of these makes another folder."""
        return {
            "vae": self.codec.facts(),
            **self.original.facts(),
            "images": self.images,
            "flips": self.flips,
            "pictures a shard": self.per_shard,
        }


def library_versions() -> dict[str, str]:
    """Of what latents depend on: another one may give other last digits."""
    packages = {name: importlib.metadata.version(name) for name in ("torch", "pillow", "diffusers")}
    return packages | {"picture decoder": str(DECODER)}


class _Read(torch.utils.data.Dataset["np.ndarray | ValueError"]):
    """Examples of (split, place), or the error that names a damaged one: raised in a worker it
    would bring the worker's traceback.
    """

    def __init__(self, sources: Mapping[str, LabelledPictures], original: Original):
        self.sources, self.original = sources, original

    def __getitem__(self, item: tuple[str, int]) -> np.ndarray | ValueError:
        split, place = item
        try:
            return self.original.read(self.sources[split], place)
        except ValueError as error:
            return error


def _leave_signals(worker: int) -> None:
    """Ctrl-C reaches workers too, and it is the main process that stops them."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _block(items: Sequence[np.ndarray | ValueError]) -> Tensor | ValueError:
    pictures = [item for item in items if not isinstance(item, ValueError)]
    wrong = next((item for item in items if isinstance(item, ValueError)), None)
    return wrong or torch.from_numpy(np.stack(pictures))


def seconds_an_example(pictures: LabelledPictures, how: Encoding) -> float:
    """Of one process here, from a few: those of the network or of the workers that read, whichever
    take longer.
    """
    read = _Read({"": pictures}, how.original)
    rows = range(min(TRIED, how.block, len(pictures)))
    began = time.perf_counter()
    block = _block([read["", row] for row in rows])
    reading = (time.perf_counter() - began) / len(rows) / max(1, how.workers)
    if isinstance(block, ValueError):
        raise block
    how.codec.moments(block)  # what loads libraries does not count
    began = time.perf_counter()
    how.codec.moments(block)
    encoding = (time.perf_counter() - began) / len(rows) * (2 if how.flips else 1)
    return max(reading, encoding) if how.workers else reading + encoding


# A folder -----------------------------------------------------------------------------------------


class LatentFolder:
    """A folder of latents that is being made, by this process and others.

    find: lists the pictures of each split, and says what it found; asked once, by whoever comes
    first. Raises ValueError for a folder that was made from something else.
    """

    def __init__(
        self,
        root: Path,
        source: Path,
        how: Encoding,
        find: Callable[[], tuple[dict[str, LabelledPictures], str]],
    ):
        self.root, self.how, self.plan = root, how, root / PLAN
        if not self.plan.is_dir() and (root / "train" / "moments.npy").is_file():
            raise ValueError(
                f"{root} holds latents of an earlier version (train/moments.npy), which are read "
                "as they are: choose another out="
            )
        wanted = how.facts()

        def make(folder: Path) -> None:
            pictures, said = find()
            for split, of_split in pictures.items():
                of_split.save(folder / f"{split}.npz")
            digests = {split: of_split.digest() for split, of_split in pictures.items()}
            made = {"source": str(source), "pictures": digests, "found": said}
            write_json(folder / "plan.json", wanted | made | {"versions": library_versions()})

        cached_folder(self.plan, make)
        (root / f"{PLAN}.lock").unlink(missing_ok=True)
        planned = read_json(self.plan / "plan.json")
        self.found, self.made_with = str(planned["found"]), dict(planned["versions"])
        self.pictures = {
            split: LabelledPictures.load(self.plan / f"{split}.npz", source)
            for split in ("train", "heldout")
        }
        # the same pictures, by the same VAE in the same way
        if planned["source"] != str(source):
            found = {split: of_split.digest() for split, of_split in find()[0].items()}
            if found != planned["pictures"]:
                raise ValueError(
                    f"{root} was begun with the pictures of {planned['source']}, and those of "
                    f"{source} are others: choose another out="
                )
        for key, value in wanted.items():
            if (before := planned.get(key)) != value:
                raise ValueError(
                    f"{root} was made with {_said(key, before)}, not {_said(key, value)}: "
                    "choose another out=, or remove it"
                )
        self.todo = [
            (split, shard)
            for split, of_split in self.pictures.items()
            for shard in range(-(-len(of_split) // how.per_shard))
            if read_shard(root / split, shard) is None
        ]
        if self.todo and self.made_with != library_versions():
            raise ValueError(
                f"{root} was begun with {_said('', self.made_with)}, and here are "
                f"{_said('', library_versions())}: go on with the same ones, or choose another out="
            )
        self.leases = Leases(self.plan / "leases")
        self._claims: deque[tuple[str, int, int, Lease]] = deque()  # of blocks that are being read

    def complete(self) -> bool:
        """Whether nothing is missing."""
        files = [INDEX_FILE, *(Path(split) / LABELS_FILE for split in self.pictures)]
        return not self.todo and all((self.root / file).is_file() for file in files)

    def bytes(self, shards: Sequence[tuple[str, int]]) -> int:
        """What shards take on the disk."""
        return sum(
            self.how.bytes_of(split, len(self._rows(split, shard))) for split, shard in shards
        )

    def count(self, shards: Sequence[tuple[str, int]]) -> int:
        """How many pictures shards hold."""
        return sum(len(self._rows(split, shard)) for split, shard in shards)

    def _rows(self, split: str, shard: int) -> range:
        first, each = shard * self.how.per_shard, self.how.per_shard
        return range(first, min(first + each, len(self.pictures[split])))

    def encode(self, stopped: Callable[[], object] = lambda: None) -> list[tuple[str, int]]:
        """Make what nobody has made or is making, until `stopped()`; returns what is still missing.

        Whoever finds nothing missing writes the index. Raises ValueError naming a damaged picture,
        and OSError where the disk is full: what is whole stays.
        """
        loader = torch.utils.data.DataLoader(
            _Read(self.pictures, self.how.original),
            batch_sampler=self._claimed(stopped),  # type: ignore[arg-type]
            num_workers=self.how.workers,
            collate_fn=_block,
            worker_init_fn=_leave_signals,
        )
        for split in self.pictures:
            (self.root / split).mkdir(exist_ok=True)
        arrays: dict[str, list[np.ndarray]] = {}
        total = sum(map(len, self.pictures.values()))
        done = total - self.count(self.todo)
        try:
            with tqdm(total=total, initial=done, unit="img", disable=None) as bar:
                for block in loader:
                    if isinstance(block, ValueError):
                        raise block
                    if stopped():
                        break
                    split, shard, left, lease = self._claims[0]
                    for name, part in self._encoded(split, block).items():
                        arrays.setdefault(name, []).append(part)
                    bar.update(len(block))
                    if not left:
                        parts = {name: np.concatenate(blocks) for name, blocks in arrays.items()}
                        write_shard(self.root / split, shard, parts)
                        lease.release()
                        arrays = {}
                    self._claims.popleft()
        finally:
            for lease in {id(claim[-1]): claim[-1] for claim in self._claims}.values():
                lease.release()
            self._claims.clear()
        self.todo = [one for one in self.todo if read_shard(self.root / one[0], one[1]) is None]
        if not self.todo:
            self._write_index()
        return self.todo

    def _claimed(self, stopped: Callable[[], object]) -> Iterator[list[tuple[str, int]]]:
        """Blocks of (split, place) of shards that this process takes, as workers ask for them."""
        for split, shard in self.todo:
            lease = None if stopped() else self.leases.acquire(f"{split}-{shard:05d}")
            if lease is None:
                continue
            if read_shard(self.root / split, shard) is not None:  # made in the meantime
                lease.release()
                continue
            lease.keep()
            rows = self._rows(split, shard)
            for first in range(0, len(rows), self.how.block):
                block = rows[first : first + self.how.block]
                self._claims.append((split, shard, len(rows) - first - len(block), lease))
                yield [(split, row) for row in block]

    def _encoded(self, split: str, pictures: Tensor) -> dict[str, np.ndarray]:
        wanted, codec = self.how.shapes(split), self.how.codec
        found = {"moments": codec.moments(pictures).numpy()}
        if "mirrored" in wanted:
            found["mirrored"] = codec.moments(pictures.flip(-1)).numpy()
        kept = {"images": self.how.original.kept(pictures).numpy()} if "images" in wanted else {}
        return found | kept

    def _write_index(self) -> None:
        splits = {}
        for split, of_split in self.pictures.items():
            labels = self.root / split / LABELS_FILE
            _save(labels, of_split.labels)
            texts = self.root / split / TEXTS_FILE
            if of_split.texts:
                _save(texts, as_utf8(of_split.texts))
            shards = [
                read_shard(self.root / split, shard) or {}
                for shard in range(-(-len(of_split) // self.how.per_shard))
            ]
            shapes = self.how.shapes(split)
            splits[split] = SplitIndex(
                split,
                len(of_split),
                self.how.per_shard,
                shapes,
                file_hash(labels),
                tuple(shards),
                file_hash(texts) if of_split.texts else "",
            )
        facts = self.how.facts()
        vae = facts.pop("vae")
        assert isinstance(vae, dict)
        names = {split: of_split.digest() for split, of_split in self.pictures.items()}
        crop = {"crop": "ADM"} if isinstance(self.how.original, CroppedPictures) else {}
        made_from = facts | crop | {"pictures": names}
        write_index(self.root, Index(vae, made_from, self.made_with, splits))


def _save(path: Path, array: np.ndarray) -> None:
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def _said(key: str, value: object) -> str:
    """A fact in words: "vae sd-vae-ft-ema (encoder 1a2b, scale 0.18215)"."""
    if not isinstance(value, Mapping):
        return f"{key}={str(value).lower()}"
    parts = dict(value)
    name = parts.pop("name", "")
    rest = ", ".join(f"{part} {one}" for part, one in parts.items())
    return f"{key} {name} ({rest})" if name else rest
