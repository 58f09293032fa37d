"""What a data set's recipe tells of it where it is not at hand, on a login node, for plans and
estimates: cells and channels, and what a model is told.

    grid, told = shape_of(compose(["data=clips_wan22"]).data)
"""

from __future__ import annotations

from bench.config.schema import Option
from bench.core.model.conditions import Bytes, Classes, Condition
from bench.core.model.tokens import TokenGrid


def shape_of(option: Option) -> tuple[TokenGrid, Condition] | None:
    """Token grid and condition; None where the recipe says no shape."""
    says, values = option.recipe, option.values
    if "shape" not in says:
        return None
    *cells, channels = says["shape"]
    if (side := values.get("size")) and "decoder" not in values:  # of pixels; latents are smaller
        cells = [side for _ in cells]
    patch = values.get("patch", 1)
    grid = TokenGrid(tuple(cells), patch if isinstance(patch, int) else tuple(patch), channels)
    if "length" in values:
        return grid, Bytes(values["length"])
    return grid, Classes(values.get("classes", says["classes"]))


def decoded_shape(option: Option) -> tuple[int, ...]:
    """What an example is shown as, (3, H, W) of a picture: as the recipe says, or eight pixels a
    cell, as Stable Diffusion's autoencoder has it.
    """
    if said := option.recipe.get("decoded"):
        return tuple(said)
    side = option.values.get("size", 8 * int(option.recipe["shape"][0]))
    return 3, side, side
