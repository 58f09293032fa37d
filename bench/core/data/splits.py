"""Which folders of a data set are classes and which are splits: `root/<class>/*`, or
`root/train/<class>/*` beside one of `HELDOUT`, whatever the case of their names.

A split is told by its name and by the class folders in it: `train` among `bus` and `car`, with
pictures and no folders in it, is a class. What could be either is refused with what was found.

    layout = find_layout(Path("photos"))
    layout.train, layout.heldout                     # heldout is None where a share is to be split
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bench.core.data.pictures import Listing, readable, visible_folders

TRAIN = ("train", "training")
# the earlier of them is held out where there are several
HELDOUT = (
    *("test", "val", "validation", "heldout", "testing", "valid", "dev", "eval", "evaluation"),
    *("held_out", "held-out", "holdout"),
)
SHOWN = 6  # names of folders in a message


@dataclass(frozen=True)
class Layout:
    """Where class folders lie. heldout: None where a share of `train` is held out; remarks: what
    has to be said of how the folder was understood.
    """

    train: Path
    heldout: Path | None
    remarks: tuple[str, ...] = ()


def splits_in(folder: Path) -> list[str]:
    """Names of the folders in a folder that are named as splits are."""
    return [name for name in visible_folders(folder) if name.casefold() in (*TRAIN, *HELDOUT)]


def find_layout(root: Path) -> Layout:
    """How a folder of pictures is laid out.

    Raises ValueError saying what was found where splits and classes cannot be told apart, or where
    the classes lie one folder deeper.
    """
    names = visible_folders(root)
    inside = {name: visible_folders(root / name) for name in names}
    named = [name for name in names if name.casefold() in (*TRAIN, *HELDOUT)]
    if twice := [name for name in named if sum(name.casefold() == n.casefold() for n in named) > 1]:
        raise ValueError(f"data.root={readable(root)} has {_list(twice)}: keep one of them")
    train = [name for name in named if name.casefold() in TRAIN]
    heldout = sorted(
        (name for name in named if name not in train),
        key=lambda name: HELDOUT.index(name.casefold()),
    )

    # classes alone, `train` among them
    if not named or (named == train and len(names) > 1 and not any(inside[n] for n in train)):
        return _classes(root, inside)

    # a split needs class folders
    flat = [name for name in named if not inside[name]]
    with_classes = [name for name in heldout if inside[name]]
    if len(flat) == len(named) or (train and not any(inside[n] for n in train)):
        raise ValueError(
            f"data.root={readable(root)} holds {_list(names)}, and {_list(flat)} has no class "
            "folders: expected train/<class>/<file>; a class of such a name needs another"
        )

    # both splits: held out is the first that has the same classes
    if len(train) == 1 and with_classes:
        same = [name for name in with_classes if inside[name] == inside[train[0]]]
        chosen = (same or with_classes)[0]
        rest = [name for name in names if name not in (train[0], chosen)]
        remarks = [f"held out is {readable(chosen)}"] if chosen != "test" else []
        remarks += [f"not used: {_list(rest)}"] if rest else []
        return Layout(root / train[0], root / chosen, tuple(remarks))

    # one split alone, of which a share is held out
    if len(names) == 1:
        return Layout(
            root / names[0],
            None,
            (f"{readable(names[0])} is the only split: a share of it is held out",),
        )
    fitting = next(name for name in (*train, *with_classes) if inside[name])
    raise ValueError(
        f"data.root={readable(root)} holds {_list(names)}, which are neither classes alone nor a "
        f"training and a held-out split with class folders each: name one of them "
        f"(data.root={readable(root / fitting)}), or move the others away"
    )


def _classes(root: Path, inside: dict[str, list[str]]) -> Layout:
    """`root/<class>/*`, unless the classes lie deeper."""
    deeper = [
        name
        for name, folders in inside.items()
        if {f.casefold() for f in folders} & {*TRAIN}
        and {f.casefold() for f in folders} & {*HELDOUT}
    ]
    if len(inside) == len(deeper) == 1:
        layout = find_layout(root / deeper[0])
        said = f"read from {readable(root / deeper[0])}"
        return Layout(layout.train, layout.heldout, (said, *layout.remarks))
    if deeper:
        raise ValueError(
            f"data.root={readable(root)} holds {_list(list(inside))}, and {_list(deeper)} has "
            f"splits inside: name one data set, data.root={readable(root / deeper[0])}"
        )
    if len(inside) == 1:
        (name,) = inside
        if inside[name] and not _has_files(root / name):
            raise ValueError(
                f"data.root={readable(root)} holds one folder, {readable(name)}, with "
                f"{_list(inside[name])} in it: if those are the classes, "
                f"data.root={readable(root / name)}; if it is one class, put its files (or "
                "links to them) right into it"
            )
    return Layout(root, None)


def _has_files(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_file() for entry in entries)


def check_apart(train: Listing, heldout: Listing) -> None:
    """Raise ValueError where links bring one picture into both splits."""
    if not (train.linked or heldout.linked):
        return
    real = {os.path.realpath(path): path for path in train.paths}
    shared = [path for path in heldout.paths if os.path.realpath(path) in real]
    if shared:
        twin = real[os.path.realpath(shared[0])]
        raise ValueError(
            f"{len(shared)} held-out picture(s) are training pictures too, through links "
            f"({readable(shared[0])} is {readable(twin)}): take them out of one split"
        )


def _list(names: list[str]) -> str:
    shown = ", ".join(readable(name) for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
