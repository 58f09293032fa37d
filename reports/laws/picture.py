"""The picture of a scaling law of a table.

    draw_law(law, points, out)        # .svg or .png

Over N alone: points, curve and band. Over N and D a curve for each D, where there are few; else,
as in tables whose rows have each its own D, a map of N and D: points coloured by what was measured,
lines of equal y of the law, and the best N and D at equal N D. Beside both the residuals over each
axis, which show what the form misses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reports.draw.axes import Scale, number
from reports.laws.fits import Law
from reports.laws.forms import power_law
from reports.laws.frontier import ImageCost, optimum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 6  # values of D that a reader tells apart by colour


@dataclass(frozen=True)
class TablePoints:
    """What was fitted, [points], and what its columns are called. d: None for a law over N."""

    n: np.ndarray
    y: np.ndarray
    d: np.ndarray | None
    names: tuple[str, str, str]  # of n, y and d


def draw_law(law: Law, points: TablePoints, out: Path) -> None:
    """Write the picture; the same table gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "fit", "font.family": "DejaVu Sans"}):
        joint = points.d is not None
        figure = Figure(figsize=(9.6, 4.8) if joint else (6, 4), layout="constrained")
        FigureCanvasAgg(figure)
        if points.d is None:
            _curves(figure.subplots(), law, points)
        else:
            grid = figure.add_gridspec(2, 2, width_ratios=(1.7, 1))
            main = figure.add_subplot(grid[:, 0])
            few = len(np.unique(points.d)) <= FEW
            (_curves if few else _map)(main, law, points)
            for row, (axis, name) in enumerate(((points.n, 0), (points.d, 2))):
                _residuals(figure.add_subplot(grid[row, 1]), law, axis, points.names[name])
        # no date
        figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None, dpi=150)


def _curves(axes: Axes, law: Law, points: TablePoints) -> None:
    """Points, curve and 95 % band, of each value of D."""
    n, y, d = points.n, points.y, points.d
    grid = np.geomspace(n.min(), n.max() * 2, 60)
    levels = [None] if d is None else [float(value) for value in np.unique(d)]
    for index, level in enumerate(levels):
        colour = f"C{index}"
        here = np.ones(len(n), bool) if d is None else d == level
        name = None if level is None else f"{points.names[2]} = {number(level)}"
        axes.plot(n[here], y[here], "o", color=colour, ms=4, label=name)
        axes.plot(grid, [law.predict(at, level) for at in grid], color=colour)
        band = np.array([law.predict_interval(at, level) for at in grid])
        axes.fill_between(grid, band[:, 0], band[:, 1], color=colour, alpha=0.2, lw=0)
    _logarithmic(axes, points.names[0], points.names[1])
    if d is not None:
        for text in axes.legend(frameon=False, fontsize=8, loc="upper right").get_texts():
            text.set_parse_math(False)


def _map(axes: Axes, law: Law, points: TablePoints) -> None:
    """Lines of equal y over N and D, under points coloured by what was measured."""
    n, y, d = points.n, points.y, points.d
    assert d is not None
    across, up = (np.geomspace(axis.min() / 1.2, axis.max() * 1.2, 80) for axis in (n, d))
    columns, rows = np.meshgrid(across, up)
    height = power_law(law.values, columns.ravel(), rows.ravel()).reshape(columns.shape)
    levels = np.unique([float(f"{value:.3g}") for value in np.quantile(y, np.linspace(0, 1, 9))])
    lines = axes.contour(columns, rows, height, levels=levels, colors="0.45", linewidths=0.9)
    axes.clabel(lines, fmt=number, fontsize=7, inline=True)
    dots = axes.scatter(
        n, d, c=np.log(y), cmap="viridis_r", s=16, lw=0.4, edgecolors="white", zorder=3
    )
    # the best of every N D, and as much of it as lies in the picture
    budgets = np.geomspace(across[0] * up[0], across[-1] * up[-1], 60)
    best = np.array(
        [
            [float(one[0]) for one in optimum(law.values[None], ImageCost(1.0), at)[:2]]
            for at in budgets
        ]
    )
    inside = (best[:, 0] > across[0]) & (best[:, 0] < across[-1])
    inside &= (best[:, 1] > up[0]) & (best[:, 1] < up[-1])
    names = points.names
    line = axes.plot(*best[inside].T, "--", color="C3", lw=1.6, zorder=4)
    axes.set(xlim=across[[0, -1]], ylim=up[[0, -1]])
    _logarithmic(axes, names[0], names[2])
    words = (
        f"measured {names[1]} (colour)",
        f"equal {names[1]} of the law",
        f"best at equal {names[0]} x {names[2]}",
    )
    handles = [dots, axes.plot([], [], color="0.45", lw=0.9)[0], *line]
    # over the picture, as rows may lie anywhere in it
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3, "columnspacing": 1.2}
    for text in axes.legend(handles, words, fontsize=7, frameon=False, **above).get_texts():
        text.set_parse_math(False)
    # the scale of the colours, of the logarithm, in the values themselves
    scale = axes.figure.colorbar(dots, ax=axes, pad=0.01)
    ticks = Scale(float(y.min()), float(y.max()), 0.0, 1.0, log=True).ticks()
    scale.set_ticks(
        [float(np.log(tick)) for tick, _ in ticks], labels=[label for _, label in ticks]
    )


def _residuals(axes: Axes, law: Law, axis: np.ndarray, name: str) -> None:
    axes.axhline(0, color="0.5", lw=0.8)
    axes.plot(axis, 100 * np.expm1(law.residuals), "o", color="C0", ms=3, alpha=0.7)
    axes.set_xscale("log")
    axes.set_xlabel(name, parse_math=False)
    axes.set_ylabel("residual (%)")
    _ticks(axes, "x")


def _logarithmic(axes: Axes, x_name: str, y_name: str) -> None:
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel(x_name, parse_math=False)
    axes.set_ylabel(y_name, parse_math=False)
    _ticks(axes, "x")
    _ticks(axes, "y")


def _ticks(axes: Axes, which: str) -> None:
    """The ticks of a page."""
    from matplotlib.ticker import NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    found = Scale(low, high, 0.0, 1.0, log=True).ticks()
    axis.set_ticks([tick for tick, _ in found], [label for _, label in found])
    axis.set_minor_locator(NullLocator())
