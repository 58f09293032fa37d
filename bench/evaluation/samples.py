"""Samples of a model, block by block on disk: resumed where they were cut off, the same for any
number of processes, tokens where a metric needs them and pictures as one .npz that the ADM suite
reads.

    samples/<protocol>-<images>-<key>/blocks/<block>-tokens.npy   float32 [64, N, C]
                                             <block>.npy  uint8 [64, H, W, 3], and which are finite
                                     /samples_<n>.npz             arr_0, uint8 [n, H, W, 3]

The key is of everything that the samples depend on. A block is a file of its own, written whole or
not at all. Samples that are not finite have no picture: they are counted and left out.

    samples = SampleStore(folder, n=50_000, block=64)
    samples.make({"pictures"}, sample, decode, paint, processes)    # paint(decode(sample(3)))
    samples.finish()
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import pictures_of, shown
from bench.core.model.graphs import Replayed
from bench.core.model.sampling import sample_block, velocity_of
from bench.core.model.sampling_protocol import Protocol
from bench.core.store.beside import WriteBehind
from bench.core.store.files import atomic, write_json
from bench.core.store.waiting import counted
from bench.core.train.distributed import Processes
from bench.evaluation.subject import Subject
from probes.metric import PICTURES, TOKENS

Sampler = Callable[[int], Tensor]
"""Block -> its tokens, float32 [64, N, C]."""
Decoder = Callable[[Tensor], Tensor]
"""Tokens -> pixels as a codec gives them, on the CPU."""
Painter = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Pixels -> pictures uint8 [64, 3, H, W], and which of them are finite, bool [64]."""


class SampleStore:
    """The samples of one model, protocol, seed and number; only one command may work on a folder
    (`RunFolder.claim`), which is there already.
    """

    def __init__(self, folder: Path, n: int, block: int):
        self.folder, self.n, self.block = folder, n, block
        self.path = folder / f"samples_{n}.npz"
        self.count = -(-n // block)
        self._facts = folder / f"samples_{n}.json"
        self._blocks = folder / "blocks"

    def done(self) -> bool:
        """Whether the .npz is finished."""
        return self.path.is_file() and self._facts.is_file()

    def not_finite(self) -> int:
        """Samples of the finished .npz that were left out."""
        return int(json.loads(self._facts.read_text(encoding="utf-8"))["not_finite"])

    def _file(self, number: int, part: str) -> Path:
        return self._blocks / (
            f"{number:06d}-tokens.npy" if part == TOKENS else f"{number:06d}.npy"
        )

    def lacking(self, parts: Collection[str]) -> list[int]:
        """Blocks of which a part is not there yet."""
        wanted = [part for part in parts if part != PICTURES or not self.done()]
        return [
            number
            for number in range(self.count)
            if not all(self._is_there(number, part) for part in wanted)
        ]

    def _is_there(self, number: int, part: str) -> bool:
        path = self._file(number, part)
        if part == PICTURES:
            return path.is_file()
        with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or cut off: made anew
            return bool(np.load(path, mmap_mode="r").size)
        return False

    def make(
        self,
        parts: Collection[str],
        sample: Sampler,
        decode: Decoder,
        paint: Painter,
        processes: Processes,
        between: Callable[[], None] = lambda: None,
        progress: bool = False,
    ) -> None:
        """Write this process's share of the blocks that are not there yet, dealt out among the
        processes; a block is painted and written while the next one is sampled.

        between: called by every process equally often, as its collectives need, after each round of
        blocks; it may raise, and what is written stays.
        """
        # one process's list for all: another one's may lack what was just written
        lacking = processes.first(self.lacking(parts) if processes.main else None)
        wanted = [part for part in parts if part != PICTURES or not self.done()]
        if lacking:
            self._blocks.mkdir(exist_ok=True)
        rounds = range(0, len(lacking), processes.world)
        what = f"sampling blocks of {self.block}"
        with WriteBehind() as behind:
            for first in counted(what, rounds, len(rounds)) if progress else rounds:
                if first + processes.rank < len(lacking):
                    number = lacking[first + processes.rank]
                    self._make_block(number, wanted, sample, decode, paint, behind, first == 0)
                between()

    def _make_block(
        self,
        number: int,
        wanted: Collection[str],
        sample: Sampler,
        decode: Decoder,
        paint: Painter,
        behind: WriteBehind,
        check_space: bool,
    ) -> None:
        # tokens that are there already need only be painted
        if self._is_there(number, TOKENS):
            tokens = torch.from_numpy(np.load(self._file(number, TOKENS)))
        else:
            tokens = sample(number)
            if TOKENS in wanted:
                behind.give(lambda: self._save(number, TOKENS, tokens.numpy()))
        if PICTURES in wanted:
            pixels = decode(tokens)
            behind.give(lambda: self._paint(number, pixels, paint, check_space))

    def _paint(self, number: int, pixels: Tensor, paint: Painter, check_space: bool) -> None:
        pictures, finite = paint(pixels)
        whole = pictures.permute(0, 2, 3, 1).contiguous().numpy()
        if check_space:
            self._check_space(whole.nbytes)
        self._save(number, PICTURES, whole, finite.numpy())

    def _check_space(self, nbytes: int) -> None:
        """Blocks that are still to come, and the .npz beside all of them."""
        needed = (len(self.lacking([PICTURES])) + self.count) * nbytes
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OSError(
                "the disk is full: "
                f"{self.path} still needs {needed / 1e9:.1f} GB (blocks and file), "
                f"{free / 1e9:.1f} GB are free; free some space and run the same command again"
            )

    def _save(self, number: int, part: str, *arrays: np.ndarray) -> None:
        path = self._file(number, part)
        with atomic(path, needed=arrays[0].nbytes) as temporary, open(temporary, "wb") as file:
            for array in arrays:
                np.save(file, array)

    def tokens(self) -> Tensor:
        """All tokens in order, float32 [n, N, C]."""
        files = [self._file(number, TOKENS) for number in range(self.count)]
        return torch.cat([torch.from_numpy(np.load(file)) for file in files])[: self.n]

    def _pictures(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        keep, path = min(self.block, self.n - number * self.block), self._file(number, PICTURES)
        try:
            with open(path, "rb") as file:
                pictures, finite = np.load(file), np.load(file)
        except (ValueError, EOFError) as error:
            path.unlink()
            raise ValueError(
                f"block {number} of {self.path} was damaged and is removed: "
                "run the same command again"
            ) from error
        return pictures[:keep], finite[:keep]

    def finish(self) -> None:
        """Put the pictures together as one .npz and remove their blocks; the main process's.

        Raises ValueError when no sample is finite.
        """
        if self.done():
            return
        finite = [self._pictures(number)[1] for number in range(self.count)]
        kept = int(sum(f.sum() for f in finite))
        if not kept:
            raise ValueError(
                f"none of the {self.n} samples is finite: nothing to write to {self.path}"
            )
        one = self._pictures(0)[0].shape[1:]
        header = {"descr": "|u1", "fortran_order": False, "shape": (kept, *one)}
        # stored, not compressed, under ZipInfo's fixed date: the same samples are the same bytes
        entry = zipfile.ZipInfo("arr_0.npy")
        with atomic(self.path, needed=kept * int(np.prod(one)), durable=True) as temporary:
            with (
                zipfile.ZipFile(temporary, "w") as archive,
                archive.open(entry, "w", force_zip64=True) as file,
            ):
                np.lib.format.write_array_header_1_0(file, header)
                for number in range(self.count):
                    pictures, mask = self._pictures(number)
                    file.write(pictures[mask].tobytes())
            write_json(self._facts, {"samples": self.n, "not_finite": self.n - kept})
        for number in range(self.count):
            self._file(number, PICTURES).unlink()
        with contextlib.suppress(OSError):  # tokens are kept until they are measured
            self._blocks.rmdir()


def sweep(folder: Path) -> None:
    """Remove tokens whose results are written from a folder of samples, and what is empty then."""
    for path in folder.glob("blocks/*-tokens.npy"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # pictures lie there
        (folder / "blocks").rmdir()
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {".lock"}:
        shutil.rmtree(folder, ignore_errors=True)


def sampler(
    subject: Subject, protocol: Protocol, seed: int, device: torch.device, graphs: bool = False
) -> Sampler:
    """Makes blocks of a subject's tokens; graphs: each evaluation of its network is the replay of
    a CUDA graph.
    """
    backbone = subject.backbone
    velocity = velocity_of(backbone, protocol.model_precision)
    velocity = Replayed(velocity) if graphs else velocity
    shape, prompts = (backbone.grid.tokens, backbone.grid.token_dim), subject.prompts

    def sample(block: int) -> Tensor:
        return sample_block(velocity, protocol, shape, prompts, seed, block, device)[0]

    return sample


def decoder(subject: Subject, protocol: Protocol) -> Decoder:
    """Decodes tokens in the protocol's precision."""
    return lambda tokens: subject.decode(tokens, protocol.decoder_precision)


def painter(protocol: Protocol) -> Painter:
    """Turns pixels into pictures for people, as the protocol rounds."""

    def paint(pixels: Tensor) -> tuple[Tensor, Tensor]:
        images, finite = pictures_of(pixels, protocol.rounding)
        return shown(images), finite

    return paint
