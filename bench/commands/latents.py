"""What bench.latents does: encode both splits, if there is room, and say how to train on them."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.core.data.base import described
from bench.core.data.encode import Encoding, encode_split
from bench.core.data.folder import FolderData
from bench.core.data.latents import Decoder

# keys of data=folder, as a run's words name them: this command's, or nothing where it has none
KEY_OF = {
    "data.root=": "pictures=",
    "data.heldout=": "heldout=",
    ", or allow data.skip_damaged=true": "",
}


def encode_folder(
    pictures: Path, out: Path, vae: str, size: int, images: bool, heldout: float, workers: int
) -> None:
    """Write out/train and out/heldout. Raises ValueError where there is no room for them, and for
    pictures that cannot be used, in this command's words.
    """
    try:
        _encode_folder(pictures, out, vae, size, images, heldout, workers)
    except ValueError as error:
        said = str(error)
        for of_data, own in KEY_OF.items():
            said = said.replace(of_data, own)
        raise ValueError(said) from error


def _encode_folder(
    pictures: Path, out: Path, vae: str, size: int, images: bool, heldout: float, workers: int
) -> None:
    data = FolderData(
        "pictures", str(pictures), size, 8, heldout, skip_damaged=False, in_memory=False
    )
    how = Encoding(Decoder(vae).load(), Path(vae).name, size, images, workers)
    print(described(data), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    _check_room(out, data.n_train + data.n_heldout, how)
    for split, files in data.files.items():
        encode_split(files, data.labels(split, slice(None)).numpy(), out / split, how)
    print(
        f"{out}: python -m bench.run data=imagenet256 data.root={out} "
        f"data.classes={data.classes} method=vanilla"
    )


def _check_room(out: Path, count: int, how: Encoding) -> None:
    needed = how.bytes_of(count)
    begun = sum(path.stat().st_blocks * 512 for path in out.rglob("*.npy"))
    free = shutil.disk_usage(out).free + begun
    print(
        f"{count} pictures: {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free in {out}",
        flush=True,
    )
    if needed > free:
        raise ValueError(
            f"{out} has no room for {needed / 1e9:.3g} GB: choose another out=, or images=false"
        )
