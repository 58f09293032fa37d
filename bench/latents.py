"""Class folders of pictures as SD-VAE latents, once: what data=imagenet256 reads (form:
`bench.core.data.latents`).

Pictures are cropped as ADM does (halved by averaging while twice too large, then bicubic, then the
centre), which is what SiT and REPA train on, without flips. Blocks of 64 go through the encoder;
what is finished stays finished.

    python -m bench.latents pictures=ILSVRC2012 out=latents vae=runs/cache/vae/sd-vae-ft-ema
    python -m bench.run data=imagenet256 data.root=latents method=selfflow
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli import guarded
from bench.core.store.files import write_json

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor

HELP = """\
usage: python -m bench.latents pictures=DIR out=DIR vae=DIR [size=256] [images=true] [heldout=0.02] [workers=4] [--help]

Encode class folders of pictures with Stable Diffusion's VAE, for data=imagenet256.
  pictures=DIR    DIR/<class>/*, or DIR/train/<class>/* beside DIR/val/<class>/* (class folders in order of their names)
  out=DIR         gets train/ and heldout/ with moments.npy, labels.npy and images.npy; the same command resumes
  vae=DIR         a folder of diffusers' AutoencoderKL: python -m bench.prepare vae=ema
  size=256        side of the cropped pictures; a multiple of 8
  images=true     keep the cropped pictures too, which methods with an encoder need (ImageNet: 252 GB; latents: 42 GB)
  heldout=0.02    share that is held out where there is no val/
  workers=4       processes that decode pictures

Examples:
  python -m bench.latents pictures=ILSVRC2012 out=latents vae=runs/cache/vae/sd-vae-ft-ema
  python -m bench.latents pictures=photos out=photo_latents vae=vae images=false heldout=0.1"""

KEYS = ("pictures", "out", "vae", "size", "images", "heldout", "workers")
BLOCK = 64


def adm_crop(image: Image, size: int) -> np.ndarray:
    """A picture as uint8 [size, size, 3]: ADM's center_crop_arr (guided-diffusion,
    image_datasets.py).
    """
    import numpy as np
    from PIL.Image import Resampling

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
    """Pictures [3, size, size] of files; raises ValueError naming a damaged one."""

    def __init__(self, files: list[Path], size: int):
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        from PIL import Image, UnidentifiedImageError

        path = self.files[index]
        try:
            with Image.open(path) as image:
                return adm_crop(image, self.size).transpose(2, 0, 1).copy()
        except (OSError, UnidentifiedImageError, SyntaxError) as error:
            raise ValueError(f"{path} cannot be read ({error}): mend or remove it") from error


def moments(vae: Any, pictures: Tensor) -> Tensor:
    """uint8 [n, 3, S, S] -> mean and standard deviation of the posterior,
    float32 [n, 8, S/8, S/8] on the CPU.
    """
    import torch

    x = pictures.to(next(vae.parameters()).device).float() / 127.5 - 1
    with torch.no_grad():
        posterior = vae.encode(x).latent_dist
    return torch.cat([posterior.mean, posterior.std], dim=1).float().cpu()


def encode_split(
    files: list[Path],
    labels: np.ndarray,
    vae: Any,
    vae_name: str,
    size: int,
    folder: Path,
    images: bool,
    workers: int,
) -> None:
    """Write one split into `folder`, which appears when it is whole;
    goes on where an earlier call was cut off.
    """
    import numpy as np
    import torch
    from tqdm import tqdm

    names = hashlib.sha256(
        "\n".join(f"{path.parent.name}/{path.name}" for path in files).encode()
    ).hexdigest()[:16]
    wanted = {"files": len(files), "names": names, "size": size, "images": images, "vae": vae_name}
    if folder.is_dir():
        record = folder / "made_from.json"
        made = json.loads(record.read_text()) if record.exists() else wanted
        if made != wanted:
            raise ValueError(
                f"{folder} was made from {made}, not {wanted}: choose another out=, or remove it"
            )
        return
    making = folder.with_name(f".{folder.name}.making")
    making.mkdir(parents=True, exist_ok=True)
    state = making / "state.json"
    before = json.loads(state.read_text()) if state.exists() else {"done": 0, "wanted": wanted}
    if before["wanted"] != wanted:
        raise ValueError(
            f"{making} was begun with {before['wanted']}, not {wanted}: remove it to begin anew"
        )
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "moments": ((len(files), 8, size // 8, size // 8), np.float32)
    }
    if images:
        shapes["images"] = ((len(files), 3, size, size), np.uint8)
    arrays = {
        name: np.lib.format.open_memmap(
            making / f"{name}.npy", "r+" if state.exists() else "w+", dtype, shape
        )
        for name, (shape, dtype) in shapes.items()
    }
    dataset = torch.utils.data.Subset(_Cropped(files, size), range(before["done"], len(files)))  # type: ignore[arg-type]
    loader = torch.utils.data.DataLoader(dataset, batch_size=BLOCK, num_workers=workers)
    done = before["done"]
    with tqdm(total=len(files), initial=done, desc=folder.name, unit="img", disable=None) as bar:
        for pictures in loader:
            rows = slice(done, done + len(pictures))
            arrays["moments"][rows] = moments(vae, pictures).numpy()
            if images:
                arrays["images"][rows] = pictures.numpy()
            done += len(pictures)
            bar.update(len(pictures))
            if done == len(files) or done // BLOCK % 64 == 0:
                for array in arrays.values():
                    array.flush()
                write_json(state, {"done": done, "wanted": wanted})
    np.save(making / "labels.npy", labels)
    write_json(making / "made_from.json", wanted)
    state.unlink()
    making.rename(folder)


def _room(out: Path, count: int, size: int, images: bool) -> None:
    needed = count * (4 * 8 * (size // 8) ** 2 + (3 * size**2 if images else 0))
    free = shutil.disk_usage(out).free + sum(
        path.stat().st_blocks * 512 for path in out.rglob("*.npy")
    )
    print(
        f"{count} pictures: {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free in {out}",
        flush=True,
    )
    if needed > free:
        raise ValueError(
            f"{out} has no room for {needed / 1e9:.3g} GB: choose another out=, or images=false"
        )


def main(argv: list[str]) -> int:
    """The command. Raises ValueError for bad input."""
    if not argv or {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    from bench.config.schema import nearest

    words: dict[str, str] = {}
    for word in argv:
        key, _, words[key] = word.partition("=")
        if key not in KEYS or not words[key]:
            raise ValueError(
                f"'{word}' is not one of this command's KEY=VALUE{nearest(key, KEYS)} (see --help)"
            )
    if missing := [key for key in ("pictures", "out", "vae") if key not in words]:
        raise ValueError(f"{', '.join(f'{key}=DIR' for key in missing)} missing (see --help)")
    if words.get("images", "true") not in ("true", "false"):
        raise ValueError(f"images={words['images']}: write true or false")
    try:
        size, workers = int(words.get("size", "256")), int(words.get("workers", "4"))
        heldout = float(words.get("heldout", "0.02"))
    except ValueError as error:
        raise ValueError(f"size, workers and heldout are numbers ({error})") from None
    if not 0 < heldout < 1:
        raise ValueError(f"heldout={heldout} is no share: choose one above 0 and below 1")
    if size < 8 or size % 8:
        raise ValueError(f"size={size} must be a multiple of 8, which is what the VAE reduces by")

    from bench.core.data.folder import FolderData
    from bench.core.data.latents import Decoder

    data = FolderData(
        "pictures", words["pictures"], size, 8, heldout, skip_damaged=False, in_memory=False
    )
    vae = Decoder(words["vae"]).load()
    images, out = words.get("images", "true") == "true", Path(words["out"]).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    _room(out, data.n_train + data.n_heldout, size, images)
    for split, files in data.files.items():
        labels = data.labels(split, slice(None)).numpy()
        encode_split(
            files, labels, vae, Path(words["vae"]).name, size, out / split, images, workers
        )
    print(
        f"{out}: python -m bench.run data=imagenet256 data.root={out} "
        f"data.classes={data.classes} method=vanilla"
    )
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
