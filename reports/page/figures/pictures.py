"""Pictures out of run folders: sample grids of all arms with the same noise, and features as
colours.
"""

from __future__ import annotations

import base64
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from bench.core.store.runs import RunRecord
from reports.draw.content import Figure, ImagePanel, figures
from reports.study.runs import StudyResults

# kind of picture -> its files in a run's folder samples/
PICTURES = {"samples": ("grid-*.png",), "features": ("features_pca-*.png", "features_pca-*.npz")}
MOST_BYTES = 1_000_000  # of one picture, so that a page with a dozen stays under 20 MB
MOST_BYTES_IN_ALL = 10_000_000
MOST_PIXELS = 20_000_000
# What readers of PNG and npz raise for a file that was cut or altered.
DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)


def sample_grids(study: StudyResults) -> list[Figure]:
    """samples/grid-<images>.png of the first seed of every arm, the newest; a figure for each data
    set and size.
    """
    return _figures(
        study, "samples", Path.read_bytes, "Samples",
        "EMA weights of the first seed; the same noise and labels for every arm.",
    )  # fmt: skip


def feature_colours(study: StudyResults) -> list[Figure]:
    """First three principal directions of the tokens' features as colours:
    samples/features_pca-<images>.png or .npz.

    The archive holds `pictures`, float32 [M, H, W, 3] in 0..1 on the token grid; the first eight
    are shown.
    """
    return _figures(
        study,
        "features",
        _feature_png,
        "Features as pictures",
        "The three main directions of the tokens' features as red, green and blue; "
        "the same pictures for every arm.",
    )


def _figures(
    study: StudyResults, name: str, read: Callable[[Path], bytes], title: str, caption: str
) -> list[Figure]:
    drawn: list[Figure] = []
    spent = 0
    for (data, size), runs in study.first_seeds().items():
        panels, absent = [], []
        for run in runs:
            file = newest_picture(run, name)
            if file is None or spent > MOST_BYTES_IN_ALL:
                absent.append(run.arm)
                continue
            try:
                content = read(file)
                _check_png(content)
            except DAMAGED as error:
                where = f"{run.id}/samples/{file.name}"
                study.problems.append(f"{where}: {error}; the picture is left out")
                absent.append(run.arm)
                continue
            spent += len(content)
            number = file.stem.rpartition("-")[2]
            images = int(number) if number.isdigit() else 0
            alt = f"{name} of {run.arm}, size {size}, after {images:,} images"
            panels.append(ImagePanel(run.arm, run.arm, alt, base64.b64encode(content).decode()))
        whole = f"{caption} Without a picture: {', '.join(absent)}." if absent else caption
        place = f"{title}: {data} · {size}"
        drawn += figures(f"{name}-{data}-{size}", place, whole, panels, folded=bool(drawn))
    return drawn


def newest_picture(run: RunRecord, kind: str) -> Path | None:
    """The file of the last snapshot that a picture of a kind (a key of `PICTURES`) was made of."""
    return max(
        (path for pattern in PICTURES[kind] for path in (run.folder / "samples").glob(pattern)),
        default=None,
    )


def _check_png(content: bytes) -> None:
    """Decode it, as a browser and typst will. Raises one of `DAMAGED`."""
    from PIL import Image, UnidentifiedImageError

    if len(content) > MOST_BYTES:
        raise ValueError(f"{len(content):,} bytes, of which a page takes at most {MOST_BYTES:,}")
    try:
        picture = Image.open(io.BytesIO(content), formats=["PNG"])
    except UnidentifiedImageError:  # its text holds an address in memory
        raise ValueError("not a PNG") from None
    with picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError(
                f"{picture.width} x {picture.height} pixels, of which a page takes {MOST_PIXELS:,}"
            )
        picture.load()


def _feature_png(path: Path) -> bytes:
    """A PNG as it is; an archive's pictures in rows of four, enlarged to about 96 pixels each."""
    if path.suffix == ".png":
        return path.read_bytes()
    import numpy as np
    from PIL import Image

    with np.load(path, allow_pickle=False) as archive:
        pictures = archive["pictures"]
    if (
        pictures.dtype.kind != "f"
        or pictures.ndim != 4
        or pictures.shape[-1] != 3
        or not pictures.size
    ):
        raise ValueError(
            f"`pictures` is {pictures.dtype} {list(pictures.shape)}, expected floats [M, H, W, 3]"
        )
    shown = (np.clip(np.nan_to_num(pictures[:8]), 0, 1) * 255).round().astype(np.uint8)
    factor = max(1, 96 // shown.shape[1])
    tiles = [
        np.pad(
            tile.repeat(factor, 0).repeat(factor, 1), ((2, 2), (2, 2), (0, 0)), constant_values=255
        )
        for tile in shown
    ]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 4)
    rows = [np.concatenate(tiles[start : start + 4], 1) for start in range(0, len(tiles), 4)]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(rows, 0)).save(file, "PNG")
    return file.getvalue()
