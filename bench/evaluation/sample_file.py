"""Samples streamed into one .npz that the ADM suite reads: in blocks, resumed,
the same for any number of processes.

Each block of 64 is a file of its own in `blocks/` beside the .npz, written whole or not at all;
when all are there they become `arr_0`, uint8 [n, H, W, 3], and go. Samples that are not finite have
no picture: they are counted and left out.

    samples = SampleFile(folder, n=50000, block=64)
    samples.write(make_block, processes)        # make_block(3) -> uint8 [64, 3, H, W], finite [64]
    samples.finish()
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from bench.core.store.files import atomic, write_json
from bench.core.train.distributed import Processes


class SampleFile:
    """folder/samples_<n>.npz, on its way or finished;
    only one command may work on a folder (`RunFolder.claim`).
    """

    def __init__(self, folder: Path, n: int, block: int):
        self.folder, self.n, self.block = folder, n, block
        self.path = folder / f"samples_{n}.npz"
        self.count = -(-n // block)
        self._facts = folder / f"samples_{n}.json"

    def done(self) -> bool:
        """Whether the .npz is finished."""
        return self.path.is_file() and self._facts.is_file()

    def not_finite(self) -> int:
        """Samples of the finished file that were left out."""
        return int(json.loads(self._facts.read_text(encoding="utf-8"))["not_finite"])

    def _block(self, number: int) -> Path:
        return self.folder / "blocks" / f"{number:06d}.npy"

    def write(
        self,
        make: Callable[[int], tuple[Tensor, Tensor]],
        processes: Processes,
        progress: bool = False,
    ) -> None:
        """Write this process's share of the blocks that are not there yet,
        dealt out among the processes.

        make(block) -> pictures uint8 [64, 3, H, W] and which of them are finite, bool [64].
        """
        (self.folder / "blocks").mkdir(parents=True, exist_ok=True)
        # one process's list for all: another one's may lack what was just written
        missing = processes.first(self.missing() if processes.main else None)
        mine = missing[processes.rank :: processes.world]
        with tqdm(total=len(mine), desc="sampling", unit="block", disable=not progress) as bar:
            for number in mine:
                pictures, finite = make(number)
                whole = pictures.permute(0, 2, 3, 1).contiguous().numpy()
                if number == mine[0]:
                    self._check_space(whole.nbytes)
                self._save(number, whole, finite.numpy())
                bar.update()

    def missing(self) -> list[int]:
        """Blocks that are not there yet."""
        return [number for number in range(self.count) if not self._block(number).is_file()]

    def _check_space(self, nbytes: int) -> None:
        needed, free = (
            (len(self.missing()) + self.count) * nbytes,
            shutil.disk_usage(self.folder).free,
        )
        if free < needed:
            raise OSError(
                "the disk is full: "
                f"{self.path} still needs {needed / 1e9:.1f} GB (blocks and file), "
                f"{free / 1e9:.1f} GB are free; free some space and run the same command again"
            )

    def _save(self, number: int, pictures: np.ndarray, finite: np.ndarray) -> None:
        path = self._block(number)
        with atomic(path, needed=pictures.nbytes) as temporary, open(temporary, "wb") as file:
            np.save(file, pictures)
            np.save(file, finite)

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        keep = min(self.block, self.n - number * self.block)
        try:
            with open(self._block(number), "rb") as file:
                pictures, finite = np.load(file), np.load(file)
        except (ValueError, EOFError) as error:
            self._block(number).unlink()
            raise ValueError(
                f"block {number} of {self.path} was damaged and is removed: "
                "run the same command again"
            ) from error
        return pictures[:keep], finite[:keep]

    def finish(self) -> None:
        """Put the blocks together and remove them; the main process's.

        Raises ValueError when no sample is finite.
        """
        finite = [self._read(number)[1] for number in range(self.count)]
        kept = int(sum(f.sum() for f in finite))
        if not kept:
            raise ValueError(
                f"none of the {self.n} samples is finite: nothing to write to {self.path}"
            )
        one = self._read(0)[0].shape[1:]
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
                    pictures, mask = self._read(number)
                    file.write(pictures[mask].tobytes())
            write_json(self._facts, {"samples": self.n, "not_finite": self.n - kept})
        shutil.rmtree(self.folder / "blocks")
