"""Class folders of pictures as SD-VAE latents, once: what data=imagenet256 reads (form:
`bench.core.data.latents`).

Pictures are cropped as ADM does (halved by averaging while twice too large, then bicubic, then the
centre), which is what SiT and REPA train on, without flips. Blocks of 64 go through the encoder;
what is finished stays finished.

    python -m bench.latents pictures=ILSVRC2012 out=latents vae=runs/cache/vae/sd-vae-ft-ema
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor
from tqdm import tqdm

from bench.core.data.pictures import read_picture
from bench.core.store.files import write_json

BLOCK_OF_PICTURES = 64
FACTOR = 8  # by which the VAE reduces a side


class Posterior(Protocol):
    """A normal distribution of latents, [n, 4, h, w] each."""

    mean: Tensor
    std: Tensor


class Encoded(Protocol):
    latent_dist: Posterior


class LatentEncoder(Protocol):
    """diffusers' AutoencoderKL: pixels [n, 3, S, S] in [-1, 1] -> a posterior."""

    def encode(self, x: Tensor) -> Encoded: ...
    def parameters(self) -> Iterator[Tensor]: ...


@dataclass(frozen=True)
class Encoding:
    """How pictures are encoded. vae_name: as it is noted; size: side of the cropped picture;
    images: keep those too; workers: processes that decode files.
    """

    vae: LatentEncoder
    vae_name: str
    size: int
    images: bool
    workers: int

    def bytes_of(self, count: int) -> int:
        """What so many pictures take on the disk."""
        moments = 4 * 8 * (self.size // FACTOR) ** 2
        return count * (moments + (3 * self.size**2 if self.images else 0))


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


class _Cropped:
    """Pictures uint8 [3, size, size] of files; raises ValueError naming a damaged one."""

    def __init__(self, files: list[Path], size: int):
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        picture = read_picture(self.files[index], self.size)
        return adm_crop(picture, self.size).transpose(2, 0, 1).copy()


def moments(vae: LatentEncoder, pictures: Tensor) -> Tensor:
    """uint8 [n, 3, S, S] -> mean and standard deviation of the posterior,
    float32 [n, 8, S/8, S/8] on the CPU.
    """
    x = pictures.to(next(vae.parameters()).device).float() / 127.5 - 1
    with torch.no_grad():
        posterior = vae.encode(x).latent_dist
    return torch.cat([posterior.mean, posterior.std], dim=1).float().cpu()


def encode_split(files: list[Path], labels: np.ndarray, folder: Path, how: Encoding) -> None:
    """Write one split into `folder`, which appears when it is whole; goes on where an earlier call
    was cut off. Raises ValueError where the folder was made from something else.
    """
    # what is there already
    paths = "\n".join(f"{path.parent.name}/{path.name}" for path in files)
    wanted = {
        "files": len(files),
        "names": hashlib.sha256(os.fsencode(paths)).hexdigest()[:16],
        "size": how.size,
        "images": how.images,
        "vae": how.vae_name,
    }
    if folder.is_dir():
        record = folder / "made_from.json"
        made = json.loads(record.read_text(encoding="utf-8")) if record.exists() else wanted
        if made != wanted:
            raise ValueError(
                f"{folder} was made from {made}, not {wanted}: choose another out=, or remove it"
            )
        return
    making = folder.with_name(f".{folder.name}.making")
    making.mkdir(parents=True, exist_ok=True)
    state = making / "state.json"
    before = (
        json.loads(state.read_text(encoding="utf-8"))
        if state.exists()
        else {"done": 0, "wanted": wanted}
    )
    if before["wanted"] != wanted:
        raise ValueError(
            f"{making} was begun with {before['wanted']}, not {wanted}: remove it to begin anew"
        )
    # the arrays, on the disk
    side = how.size // FACTOR
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "moments": ((len(files), 8, side, side), np.float32)
    }
    if how.images:
        shapes["images"] = ((len(files), 3, how.size, how.size), np.uint8)
    mode = "r+" if state.exists() else "w+"
    arrays = {
        name: np.lib.format.open_memmap(making / f"{name}.npy", mode, dtype, shape)
        for name, (shape, dtype) in shapes.items()
    }
    # block by block; what is done is noted after 64 of them
    done = before["done"]
    cropped = _Cropped(files, how.size)
    dataset = torch.utils.data.Subset(cropped, range(done, len(files)))  # type: ignore[arg-type]
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=BLOCK_OF_PICTURES, num_workers=how.workers
    )
    with tqdm(total=len(files), initial=done, desc=folder.name, unit="img", disable=None) as bar:
        for pictures in loader:
            rows = slice(done, done + len(pictures))
            arrays["moments"][rows] = moments(how.vae, pictures).numpy()
            if how.images:
                arrays["images"][rows] = pictures.numpy()
            done += len(pictures)
            bar.update(len(pictures))
            if done == len(files) or done // BLOCK_OF_PICTURES % 64 == 0:
                for array in arrays.values():
                    array.flush()
                write_json(state, {"done": done, "wanted": wanted})
    # whole
    np.save(making / "labels.npy", labels)
    write_json(making / "made_from.json", wanted)
    state.unlink()
    making.rename(folder)
