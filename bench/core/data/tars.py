"""WebDataset tars: pictures, KEY.jpg, beside files that say something of them, KEY.cls or KEY.txt.

    pictures, beside = read_tar(Path("train-0000.tar"), (".cls",))
    beside[".cls"]["n01440764/1"], pictures["n01440764/1"].offset_data

A key is the path up to the first dot of its last part, as WebDataset has it, so that KEY.seg.png is
no second picture.
"""

from __future__ import annotations

import tarfile
from collections.abc import Collection
from pathlib import Path

from bench.core.data.pictures import SUFFIXES, part_of_file, readable


def read_tar(
    path: Path, suffixes: Collection[str]
) -> tuple[dict[str, tarfile.TarInfo], dict[str, dict[str, bytes]]]:
    """The pictures by their keys, as they follow each other, and the content of what has one of
    these suffixes, {suffix: {key: bytes}}. Raises ValueError for a tar that cannot be read.
    """
    pictures: dict[str, tarfile.TarInfo] = {}
    beside: dict[str, dict[str, bytes]] = {suffix: {} for suffix in suffixes}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, slash, name = member.name.rpartition("/")
                stem, dot, rest = name.partition(".")
                key, suffix = f"{folder}{slash}{stem}", dot + rest.casefold()
                if not member.isfile() or not stem:
                    continue
                if suffix in SUFFIXES:
                    pictures[key] = member
                elif suffix in beside:
                    content = archive.extractfile(member)
                    assert content is not None, "a plain file"
                    beside[suffix][key] = content.read()
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{readable(path)} cannot be read ({error}): fetch it again") from error
    return pictures, beside


def member_name(path: Path, first: int) -> str:
    """The name of the member whose content begins at that byte."""
    try:
        header = part_of_file(path, first - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
    except (tarfile.TarError, OSError):
        return f"byte {first}"
