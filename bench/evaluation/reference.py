"""What samples are compared with: an ADM file, a folder of pictures or the training split,
looked at before sampling.

reference = reference_of({"reference": "train"}, subject)
check_reference(reference, ["fid", "fd_dinov2"])      # {"sfid": "missing: ..."}: what this reference does not allow
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def reference_of(words: dict[str, str], subject: Any) -> Any:
    """A path, or the data set whose training split it is.

    Raises ValueError where the subject has no data set.
    """
    reference = subject.data if words["reference"] == "train" else Path(words["reference"])
    if reference is None:
        raise ValueError(
            "reference=train needs a data set whose pictures are here: "
            "data.root=DIR, or give an ADM file or a folder"
        )
    return reference


def pictures_of_reference(reference: Any) -> Any:
    """Its pictures. Raises ValueError for an .npz without any."""
    from probes.distances.images import DatasetImages, FolderImages, NpzImages

    if not isinstance(reference, Path):
        return DatasetImages(reference, "train")
    return FolderImages(reference) if reference.is_dir() else NpzImages(reference)


def is_adm_file(reference: Any) -> bool:
    return isinstance(reference, Path) and not reference.is_dir()


def check_reference(reference: Any, metrics: list[str]) -> dict[str, str]:
    """The metrics that a reference does not allow, {metric: why}, from its shapes and headers.

    Sampling takes hours: a reference that allows nothing is refused before it. Raises ValueError.
    """
    from probes.distances.images import DatasetImages, FolderImages
    from probes.distances.reference import adm_parts, too_few

    lacks: dict[str, str] = {}
    if is_adm_file(reference) and "fid" in metrics:
        lacks = adm_parts(reference)[2]
        if metrics == ["fid"]:
            return lacks
    pictures = pictures_of_reference(reference)
    beside = [] if isinstance(reference, Path) else [DatasetImages(reference, "heldout")]
    for side in (pictures, *beside):
        if len(side) < 2:
            raise ValueError(
                f"reference: {side.name} has {len(side)} picture(s): a distance needs at least two"
            )
        if isinstance(side, FolderImages):
            side.check_sizes()
        elif not isinstance(reference, Path):
            next(side.batches(1))  # latents may lie there without their pictures
    return lacks or (too_few(pictures.name, len(pictures)) if "fid" in metrics else {})
