"""One backbone for several kinds of data: blocks and the embedding of times are shared, and each
kind has its own in and out layers, condition and places (arXiv 2603.06507, App. D).

Of each kind there is a *view*, a `SiT` as if it were alone: methods, the sampler and metrics are
given a view and know of nothing else. What is shared lies once among the parameters,

    blocks.*, t_embedder.*, ports.<part>.{x_embedder, y_embedder, final_layer, pos_embed}

and `state_of_part` makes of such a state that of the plain `SiT` of one part.

    backbone = Ported({"digits": SiT(...), "notes": SiT(...)})
    velocity, _ = backbone.views["notes"](tokens, t, condition)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn

from bench.core.model.backbone import SiT
from bench.core.model.sizes import Size
from bench.core.model.tokens import TokenGrid

SHARED = ("t_embedder", "blocks")
PORTS = "ports."
Stored = TypeVar("Stored")


class Ported(nn.Module):
    """Whole backbones of one size become one: all but the first give up their shared modules for
    the first's, with its weights.
    """

    def __init__(self, views: Mapping[str, SiT]):
        super().__init__()
        first, *others = views.values()
        assert all(view.size == first.size for view in others), "one size for all"
        self.size = first.size
        self.t_embedder, self.blocks = first.t_embedder, first.blocks
        for view in views.values():
            for name in SHARED:
                delattr(view, name)
                # an attribute and no submodule: its parameters are this module's, once
                object.__setattr__(view, name, getattr(self, name))
        self.ports = nn.ModuleDict(views)

    @property
    def views(self) -> dict[str, SiT]:
        """The backbone of each part."""
        found = {}
        for name, view in self.ports.items():
            assert isinstance(view, SiT)
            found[name] = view
        return found


Backbone = SiT | Ported


def views_of(backbone: Backbone) -> dict[str, SiT]:
    """The backbone of each part; of one kind of data there is one, under ""."""
    return backbone.views if isinstance(backbone, Ported) else {"": backbone}


def shared_parameters(size: Size) -> int:
    """Parameters that all parts have in common, counted without making them."""
    with torch.device("meta"):
        one = SiT(TokenGrid((1,), 1, 1), size, 1)
    shared = (getattr(one, name) for name in SHARED)
    return sum(p.numel() for module in shared for p in module.parameters())


def state_of_part(state: Mapping[str, Stored], part: str) -> dict[str, Stored]:
    """Of a `Ported` backbone's state, that of the plain `SiT` of a part; another's stays as it is.

    part "": of a backbone of one kind of data.
    """
    own = f"{PORTS}{part}." if part else ""
    mine = {key.removeprefix(own): value for key, value in state.items() if key.startswith(own)}
    return mine | {key: value for key, value in state.items() if not key.startswith(PORTS)}
