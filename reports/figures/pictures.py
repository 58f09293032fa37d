"""Pictures out of run folders: sample grids of all arms with the same noise, and features coloured by their main directions."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from reports.figures import figure
from reports.runs import Run, Study
from reports.theme import sorted_arms

MOST_BYTES = 1_500_000  # of one picture: a page stays under 20 MB with twelve of them


def sample_grids(study: Study) -> dict[str, Any] | None:
    """The newest grid of the first seed of every arm and size."""
    panels = []
    for run in _one_run_an_arm(study):
        grids = sorted((run.folder / "samples").glob("grid-*.png"))
        if grids:
            panels += _picture(run, grids[-1], "samples", grids[-1].read_bytes(), study.problems)
    caption = "The same noise and labels for every arm, first seed, EMA weights."
    return figure("samples", "Samples", caption, panels)


def feature_pictures(study: Study) -> dict[str, Any] | None:
    """First three principal directions of the tokens' features as colours: samples/features_pca-<images>.npz or .png.

    The archive holds `pictures` float32 [M, H, W, 3] in 0..1 on the token grid, and optionally `titles` [M].
    """
    panels = []
    for run in _one_run_an_arm(study):
        folder = run.folder / "samples"
        found = sorted([*folder.glob("features_pca-*.png"), *folder.glob("features_pca-*.npz")])
        if not found:
            continue
        try:
            content = found[-1].read_bytes() if found[-1].suffix == ".png" else _strip(found[-1])
        except (OSError, ValueError, KeyError) as error:
            study.problems.append(f"{run.id}/samples/{found[-1].name}: {error}; the picture is left out")
            continue
        panels += _picture(run, found[-1], "features", content, study.problems)
    caption = "The three main directions of the tokens' features as red, green and blue, the same pictures for every arm."
    return figure("features", "Features as pictures", caption, panels)


def _one_run_an_arm(study: Study) -> list[Run]:
    first: dict[tuple[str, str, str], Run] = {}
    for run in study.runs.values():
        key = (run.arm, str(run.description.get("data")), str(run.description.get("size")))
        seed = run.description.get("seed") or 0
        if key not in first or seed < (first[key].description.get("seed") or 0):
            first[key] = run
    order = {arm: index for index, arm in enumerate(sorted_arms(run.arm for run in first.values()))}
    return [first[key] for key in sorted(first, key=lambda key: (key[1], first[key].description.get("width") or 0, order[key[0]]))]


def _picture(run: Run, path: Path, what: str, content: bytes, problems: list[str]) -> list[dict[str, Any]]:
    if not content.startswith(b"\x89PNG") or len(content) > MOST_BYTES:
        problems.append(f"{run.id}/samples/{path.name}: not a PNG of at most {MOST_BYTES:,} bytes; the picture is left out")
        return []
    size = run.description.get("size", "?")
    images = path.stem.rpartition("-")[2].lstrip("0") or "0"
    title = f"{run.arm} · {size}"
    alt = f"{what} of {run.arm}, size {size}, after {images} images"
    return [{"kind": "image", "arm": run.arm, "title": title, "alt": alt, "png": base64.b64encode(content).decode()}]


def _strip(path: Path) -> bytes:
    """The archive's pictures in one row, enlarged to 96 pixels each, as PNG."""
    import numpy as np
    from PIL import Image

    pictures = np.load(path, allow_pickle=False)["pictures"]
    if pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise ValueError(f"`pictures` has shape {pictures.shape}, expected [M, H, W, 3]")
    shown = (np.clip(pictures[:8], 0, 1) * 255).round().astype(np.uint8)
    factor = max(1, 96 // shown.shape[1])
    tiles = [tile.repeat(factor, 0).repeat(factor, 1) for tile in shown]
    tiles = [np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255) for tile in tiles]
    rows = [np.concatenate(tiles[i : i + 4], 1) for i in range(0, len(tiles) - len(tiles) % 4 or len(tiles), 4)]
    file = io.BytesIO()
    Image.fromarray(np.concatenate([row for row in rows if row.shape == rows[0].shape], 0)).save(file, "PNG")
    return file.getvalue()
