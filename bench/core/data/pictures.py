"""Which files below a folder are pictures, and how one is read: for training, for folders that
samples are compared with, and for latents alike. They differ in the crop alone.

A picture is a plain file with one of `SUFFIXES`. Hidden copies (`.ipynb_checkpoints`, `__MACOSX`,
`._name`) are none, at any level. Links are followed once; one that leads back up is named.

    listing = list_pictures(Path("photos"))
    image = read_picture(listing.paths[0], side=256)      # PIL, RGB, upright, opaque
"""

from __future__ import annotations

import functools
import os
import stat
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# Stated here and not taken from Pillow, which reads other formats in other versions. Without those
# that start a program or hold no picture (.eps, .wmf, .mpg, .h5, ...).
PICTURE_FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k"),
    "TGA": (".tga",),
}
SUFFIXES = frozenset(suffix for suffixes in PICTURE_FORMATS.values() for suffix in suffixes)
JPEG_SUFFIXES = PICTURE_FORMATS["JPEG"]
HIDDEN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")

DECODER = (
    2  # another number wherever `read_picture` gives other pixels: caches of them are named so
)

# A picture of more pixels is reduced while or right after it is decoded, where a crop follows. None
# of ImageNet's is as large, so that ADM's crop is ADM's.
LARGE = 2**26
MARGIN = 4  # times the crop's side that a reduced picture's short side keeps
EIGHT_BITS = ((np.arange(65536) + 128) // 257).astype(np.uint8)  # round(v / 257)


@dataclass(frozen=True)
class Listing:
    """Pictures below a folder.

    paths: sorted; others: files that are no pictures, {suffix: how many}; remarks: a sentence for
    each link that is not followed; linked: whether any picture was reached through a link.
    """

    paths: list[Path]
    others: dict[str, int]
    remarks: list[str]
    linked: bool

    def left_out(self) -> str:
        """The other files in words, "" if there are none: "3 .eps, 1 .txt"."""
        return ", ".join(f"{n} {readable(suffix)}" for suffix, n in sorted(self.others.items()))


def readable(name: object) -> str:
    """A path or name for messages: what cannot be printed (bytes that are no UTF-8, control
    characters) is written as an escape.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode()
        for c in str(name)
    )


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is a program's own and no part of a data set."""
    return name.startswith(".") or name in HIDDEN


def visible_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, links among them, sorted. Raises ValueError where it cannot
    be read.
    """
    return [
        entry.name
        for entry in _entries(folder)
        if (os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir())
    ]


def list_pictures(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> Listing:
    """All pictures below a folder, or all files that end in other suffixes.

    Raises ValueError for a folder that cannot be read and for a link to nothing.
    """
    paths, others, remarks = list[Path](), Counter[str](), list[str]()
    real_of: dict[str, str] = {}  # folder as it is reached -> where it lies
    visited: set[str] = set()
    links: deque[str] = deque()

    def visit(start: str) -> None:
        waiting = [(start, os.path.realpath(start))]
        while waiting:
            reached, real = waiting.pop()
            if real in visited:
                remarks.append(f"{readable(reached)} was reached before: not read again")
                continue
            visited.add(real)
            real_of[str(Path(reached))] = real
            for entry in _entries(reached):
                if entry.is_symlink():
                    links.append(entry.path)
                elif entry.is_dir():
                    waiting.append((entry.path, os.path.join(real, entry.name)))
                else:
                    take(entry.path, entry.is_file())

    def take(path: str, plain: bool) -> bool:
        suffix = os.path.splitext(path)[1].lower()
        if plain and suffix in suffixes:
            paths.append(Path(path))
            return True
        others[(suffix or "without a suffix") if plain else "that is no plain file"] += 1
        return False

    def lies_at(path: Path) -> str:
        return os.path.join(real_of[str(path.parent)], path.name)

    # what lies there itself, and then what is linked: so a link never takes a folder's place
    visit(str(folder))
    own = {lies_at(path) for path in paths} if links else set[str]()
    through_link = False
    while links:
        link = links.popleft()
        real = os.path.realpath(link)
        try:
            mode = os.stat(link).st_mode
        except OSError as error:
            raise ValueError(
                f"{readable(link)} is a link to nothing ({error.strerror}): mend or remove it"
            ) from error
        if stat.S_ISDIR(mode):
            above = os.path.join(os.path.realpath(os.path.dirname(link)), "")
            if above.startswith(os.path.join(real, "")):
                remarks.append(f"{readable(link)} leads back up to {readable(real)}: not followed")
            elif real in visited:
                remarks.append(f"{readable(link)} leads to {readable(real)} again: not followed")
            else:
                before = len(paths)
                visit(link)
                own |= {lies_at(path) for path in paths[before:]}
                through_link = True
        elif real in own:
            remarks.append(f"{readable(link)} is {readable(real)} again: left out")
        elif take(link, stat.S_ISREG(mode)):
            own.add(real)
            through_link = True
    return Listing(sorted(paths), dict(others), remarks, through_link)


def _entries(folder: Path | str) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        raise ValueError(
            f"{readable(folder)} cannot be read ({error.strerror}): give a folder of pictures"
        ) from error
    return sorted(found, key=lambda entry: entry.name)


def read_picture(
    path: Path, side: int | None = None, content: Callable[[], bytes] | None = None
) -> Image:
    """A picture as PIL's RGB, upright, on white where it is transparent, 8 of 16 bits.

    side: of the crop that follows, for which a picture of more than `LARGE` pixels is reduced; None
    reads it whole; content: reads its bytes where it is no file of its own, and `path` names it.
    Raises ValueError naming a file that cannot be read, and Pillow's limit of size.
    """
    from PIL.Image import Resampling

    try:
        with _opened(BytesIO(content()) if content else path) as image:
            kept = MARGIN * side if side and image.width * image.height > LARGE else 0
            if kept:
                image.draft(None, (kept, kept))  # JPEG alone can
            picture = _opaque(image)
            if kept and picture.width * picture.height > LARGE:
                scale = max(1, min(picture.size) // kept)
                to = (picture.width // scale, picture.height // scale)
                picture = picture.resize(to, Resampling.BOX)  # as exact as `reduce` is not
            return picture
    except Exception as error:  # each format's reader raises its own kinds for what is not whole
        raise ValueError(f"{readable(path)} cannot be read ({error}): mend or remove it") from error


def part_of_file(path: Path, first: int, count: int) -> bytes:
    """So many bytes of a file from one on: a member of a tar."""
    with open(path, "rb") as file:
        file.seek(first)
        return file.read(count)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height as `read_picture` gives them, of the file's head where that says enough.

    Raises ValueError as it does.
    """
    try:
        with _opened(path) as image:
            if image.width == image.height:
                return image.size
            if image.format in ("JPEG", "MPO"):
                turned = image.getexif().get(0x0112, 1) >= 5  # Orientation: on its side
                return (image.height, image.width) if turned else image.size
    except Exception as error:
        raise ValueError(f"{readable(path)} cannot be read ({error}): mend or remove it") from error
    return read_picture(path).size


def _opaque(image: ImageFile) -> Image:
    """RGB of an opened file, upright. Raises ValueError for numbers whose range is unknown."""
    from PIL import Image, ImageOps

    # Pillow cuts 16 bits off at 255 instead of scaling them; those of a PNG or PGM may be its "I"
    deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    ImageOps.exif_transpose(image, in_place=True)
    if deep:
        numbers = np.asarray(image)
        grey = EIGHT_BITS[numbers]
        grey[numbers == image.info.get("transparency", -1)] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are {image.mode}, 32-bit numbers of no stated range: "
            "convert it to 8 or 16 bits"
        )
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _opened(source: Path | BytesIO) -> ImageFile:
    """The file, as one of our formats whatever its name says: Pillow would start Ghostscript."""
    from PIL import Image

    return Image.open(source, formats=_readable_formats())


@functools.cache
def _readable_formats() -> tuple[str, ...]:
    from PIL import Image

    # They name no file: what matters of them (a size limit, a cut file) is raised, with its path.
    # Set once, since filters are a process's, and threads read files.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    Image.init()
    return tuple(name for name in PICTURE_FORMATS if name in Image.OPEN)
