"""Pictures out of run folders: sample grids of all arms with the same noise, what is heard of them
and how they move, and features as colours.
"""

from __future__ import annotations

import base64
import io
import wave
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.store.runs import RunRecord, data_of_part, samples_folder
from reports.draw.panels import Figure, ImagePanel, Place, Shown, chosen_figures
from reports.draw.theme import arm_label
from reports.findings.sentences import joined
from reports.study.runs import StudyResults

# kind of picture -> its files in a run's folder samples/
PICTURES = {"samples": ("grid-*.png",), "features": ("features_pca-*.png", "features_pca-*.npz")}
MOST_BYTES = 1_000_000  # of one picture, so that a page with a dozen stays under 20 MB
MOST_BYTES_IN_ALL = 10_000_000
MOST_PIXELS = 20_000_000
MOST_GRIDS = 6  # grids of an arm over training
REAL = "real.png"  # held-out pictures of the classes of the grids
CAN_BE_HEARD = (
    " Spectrograms, the lowest frequencies at the bottom; a player has the top row, from left to "
    "right, heard through spectrograms, the real ones too."
)
MOVES = (
    " The same videos over and over; in print, and for readers who ask for little motion, the "
    "frames of the top row, a video a line."
)
ACTS = (
    " The same episodes over and over, as the policy sees them: it stands in the middle and looks "
    "up. In print, and for readers who ask for little motion, an episode a line."
)
POLICY = "policy"  # the modality whose clips are episodes
PICTURE_MODALITY = "picture"  # the modality whose features are pictures
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
    """samples/grid-<images>.png of the first seed of every arm, beside real pictures of the same
    classes, samples/real.png; over training where an arm has several grids. A .wav beside the last
    picture of an arm has a player, and an .apng moves in its place.
    """
    caption = "EMA weights of the first seed; the same noise and labels for every arm."
    return _figures(study, "samples", Path.read_bytes, "Samples", caption)


def feature_colours(study: StudyResults) -> list[Figure]:
    """First three principal directions of the tokens' features as colours:
    samples/features_pca-<images>.png or .npz.

    The archive holds `pictures`, float32 [M, H, W, 3] in 0..1 on the token grid; the first eight
    are shown.
    """
    caption = (
        "The three main directions of the tokens' features as red, green and blue; "
        "the same pictures for every arm."
    )
    return _figures(study, "features", _feature_png, "Features as pictures", caption)


def _figures(
    study: StudyResults, name: str, read: Callable[[Path], bytes], title: str, caption: str
) -> list[Figure]:
    panels: list[tuple[Place, Shown, ImagePanel]] = []
    absent: dict[str, list[str]] = {}  # arms by size
    beside: dict[str, None] = {}  # sentences, each once
    reader = _Reader(study, read)
    places = picture_places(study)
    for (data, size), part, runs in places:
        kind = runs[0].modalities.get(data)
        there = {run.id: _pictures(run, name, part) for run in runs}
        numbers = [set(of_run) for of_run in there.values() if of_run]
        common = set.intersection(*numbers) if numbers else set()
        if name == "samples" and (real := _real(reader, runs, part)):
            panels.append(((data, size), {}, real))
            said = " Real: held-out pictures of the same classes."
            if real.wav:
                said = f" Real: held-out sounds of the same classes.{CAN_BE_HEARD}"
            elif kind == POLICY:
                said = f" Beside them the expert's.{ACTS}"
            elif real.apng:
                said = f" Real: held-out videos of the same classes.{MOVES}"
            beside[said] = None
        for run in runs:
            files = there[run.id]
            # the last of each arm, and before it what all arms have
            earlier = sorted(common - {max(files, default=0)}, reverse=True)[: MOST_GRIDS - 1]
            shown = [(images, files[images]) for images in [max(files), *earlier]] if files else []
            drawn = 0
            for images, file in shown:
                content = reader.png(run, file)
                if content is None:
                    continue
                drawn += 1
                alt = f"{name} of {arm_label(run.arm)}, size {size}, after {images:,} images"
                place = {"after": f"{images:,} images"} if len(shown) > 1 else {}
                last = images == max(files)
                panel = ImagePanel(
                    run.arm, arm_label(run.arm), alt, content, *reader.beside(run, file, last)
                )
                panels.append(((data, size), place, panel))
            if not drawn:
                absent.setdefault(size, []).append(arm_label(run.arm))
    several = len({size for (_, size), _, _ in places}) > 1
    lacking = [
        f"{joined(list(dict.fromkeys(arms)))}{f' at {size}' if several else ''}"
        for size, arms in absent.items()
    ]
    without = f" Without a picture: {'; '.join(lacking)}." if lacking else ""
    order = [place for place, _, _ in places]
    return chosen_figures(
        name, title, caption + "".join(beside) + without, panels, order, beside=()
    )


def picture_places(study: StudyResults) -> list[tuple[tuple[str, str], str, list[RunRecord]]]:
    """Data and size as figures are chosen by, each part of data of several kinds by itself, with
    the part and the runs.
    """
    return [
        ((data_of_part(data, part), size), part, runs)
        for (data, size), runs in study.first_seeds().items()
        for part in dict.fromkeys(part for run in runs for part in run.parts)
    ]


def _pictures(run: RunRecord, kind: str, part: str) -> dict[int, Path]:
    """{images: file} of the pictures of a kind, the last of each number."""
    found, folder = {}, samples_folder(run.folder, part)
    for path in sorted(p for one in PICTURES[kind] for p in folder.glob(one)):
        number = path.stem.rpartition("-")[2]
        found[int(number) if number.isdigit() else 0] = path
    return found


def _real(reader: _Reader, runs: Sequence[RunRecord], part: str) -> ImagePanel | None:
    """Real pictures of the classes of the grids: of the first run that has them."""
    for run in runs:
        path = samples_folder(run.folder, part) / REAL
        content = reader.png(run, path) if path.is_file() else None
        if content is not None:
            of = data_of_part(run.data, part)
            alt, title = f"real pictures of {of}", "Real, held out"
            if run.modalities.get(of) == POLICY:
                alt, title = f"the expert's episodes in {of}", "The expert"
            return ImagePanel("", title, alt, content, *reader.beside(run, path))
    return None


@dataclass
class _Reader:
    """Pictures as base64, within what a page takes in all; what is damaged is named."""

    study: StudyResults
    read: Callable[[Path], bytes]
    spent: int = 0

    def png(self, run: RunRecord, file: Path) -> str | None:
        if self.spent > MOST_BYTES_IN_ALL:
            return None
        try:
            content = self.read(file) if file.name != REAL else file.read_bytes()
            _check_png(content)
        except DAMAGED as error:
            where = f"{run.id}/samples/{file.name}"
            self.study.problems.append(f"{where}: {error}; the picture is left out")
            return None
        self.spent += len(content)
        return base64.b64encode(content).decode()

    def beside(self, run: RunRecord, picture: Path, last: bool = True) -> tuple[str, str]:
        """The WAV and the APNG file beside a picture as base64, "" where there is none, and where
        it is not the last picture of a run.
        """
        if not last:
            return "", ""
        wav = self._other(run, picture.with_suffix(".wav"), _check_wav, "sound")
        return wav, self._other(run, picture.with_suffix(".apng"), _check_png, "film")

    def _other(self, run: RunRecord, path: Path, check: Callable[[bytes], None], what: str) -> str:
        if self.spent > MOST_BYTES_IN_ALL or not path.is_file():
            return ""
        try:
            content = path.read_bytes()
            check(content)
        except DAMAGED as error:
            where = f"{run.id}/samples/{path.name}"
            self.study.problems.append(f"{where}: {error}; the {what} is left out")
            return ""
        self.spent += len(content)
        return base64.b64encode(content).decode()


def newest_picture(run: RunRecord, kind: str, part: str = "") -> Path | None:
    """The file of the last snapshot that a picture of a kind (a key of `PICTURES`) was made of."""
    folder = samples_folder(run.folder, part)
    return max((path for pattern in PICTURES[kind] for path in folder.glob(pattern)), default=None)


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
        for frame in range(getattr(picture, "n_frames", 1)):
            picture.seek(frame)
            picture.load()


def _check_wav(content: bytes) -> None:
    """Read its head and its length, as a browser will. Raises one of `DAMAGED`."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"{len(content):,} bytes, of which a page takes at most {MOST_BYTES:,}")
    try:
        with wave.Wave_read(io.BytesIO(content)) as file:
            said = file.getnframes() * file.getnchannels() * file.getsampwidth()
            there = len(file.readframes(file.getnframes()))
    except wave.Error as error:
        raise ValueError(f"not a WAV ({error})") from None
    if there != said:
        raise ValueError(f"cut off: {there:,} of {said:,} bytes of sound")


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
