"""`python -m bench.report fit --csv FILE --x N --y loss`: a scaling law of any table,
its parameters and its curve.

    python -m bench.report fit --csv runs.csv --x parameters --y heldout_loss
    python -m bench.report fit --csv runs.csv --x N --x2 D --y loss --out law.svg

Rows that share x (and x2) are taken as seeds. Parameters are printed with 95 % intervals; the curve
is a picture file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from reports.draw.axes import Scale, number
from reports.laws.comparison import predict_largest
from reports.laws.fits import Law, Refusal, fit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--csv", type=Path, required=True, metavar="FILE", help="table with a header line"
    )
    parser.add_argument(
        "--x", required=True, metavar="COLUMN", help="size, for example N or parameters"
    )
    parser.add_argument("--x2", metavar="COLUMN", help="data seen: fits E + A N^-a + B D^-b")
    parser.add_argument(
        "--y", required=True, metavar="COLUMN", help="what falls with size, for example loss"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="picture, .svg or .png (default: beside the table)"
    )


def run(options: argparse.Namespace) -> int:
    """Print the law and write its picture; 0. Raises ValueError for what the user can mend."""
    out = options.out or options.csv.with_name(f"{options.csv.stem}-fit.svg")
    if out.suffix not in (".svg", ".png"):
        raise ValueError(f"--out {out}: the picture is written as .svg or .png")
    n, y, d = read_columns(options.csv, options.x, options.y, options.x2)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--out {out}: the folder {out.parent} cannot be made ({error.strerror})"
        ) from None
    law = fit(n, y, d)
    print("\n".join(describe(law, options.x, options.x2, options.y)))
    if d is None:
        try:
            foretold = predict_largest(n, y)
            print(
                f"{options.y} at {options.x} = {number(foretold.n)} from the smaller ones: "
                f"{foretold.predicted:.5g} "
                f"({foretold.low:.5g} to {foretold.high:.5g}); measured: {foretold.measured:.5g}"
            )
        except Refusal as reason:
            print(f"no prediction of the largest {options.x} from the smaller ones: {reason}")
    draw(law, n, y, d, options.x, options.x2, options.y, out)
    print(f"curve: {out}")
    return 0


def read_columns(
    path: Path, x: str, y: str, x2: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The columns of a table as numbers.

    Raises ValueError for a missing file or column, or a word in it.
    """
    import pandas as pd

    if not path.exists():
        raise ValueError(f"no file {path}: give a table with a header line with --csv")
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table: {error}") from None
    columns = []
    for name in (x, y, x2):
        if name is None:
            columns.append(None)
            continue
        if name not in table:
            raise ValueError(
                f"{path} has no column {name!r} (it has: {', '.join(map(str, table.columns))})"
            )
        values = pd.to_numeric(table[name], errors="coerce")
        if values.isna().any():
            line = int(np.flatnonzero(values.isna())[0])
            raise ValueError(
                f"{path} line {line + 2}: {name} is {table[name].iloc[line]!r}, not a number"
            )
        columns.append(values.to_numpy(float))
    return columns[0], columns[1], columns[2]


def describe(law: Law, x: str, x2: str | None, y: str) -> list[str]:
    """Lines that say what was fitted."""
    form = f"{y} = E + A {x}^-a" + (f" + B {x2}^-b" if x2 else "")
    whence = "seeds" if law.from_seeds else "residuals"
    lines = [form, "parameter       value   95 % interval"]
    for name in law.names:
        low, high = law.interval(name)
        lines.append(f"{name:<9}{law[name]:>12.5g}   {low:.5g} to {high:.5g}")
    return [
        *lines,
        "deviation of a run: "
        f"{100 * law.deviation:.2g} % (from {whence}, {law.df} degrees of freedom)",
    ]


def draw(
    law: Law,
    n: np.ndarray,
    y: np.ndarray,
    d: np.ndarray | None,
    x: str,
    x2: str | None,
    name: str,
    out: Path,
) -> None:
    """Points, curve and its 95 % band on logarithmic axes;
    with a second axis one curve for each value of D.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    with matplotlib.rc_context({"svg.hashsalt": "fit", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(6, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        grid = np.geomspace(n.min(), n.max() * 2, 60)
        levels = [None] if d is None else [float(value) for value in np.unique(d)]
        for index, level in enumerate(levels):
            colour = f"C{index % 10}"
            here = np.ones(len(n), bool) if level is None else d == level
            axes.plot(
                n[here],
                y[here],
                "o",
                color=colour,
                ms=4,
                label=None if level is None else f"{x2} = {number(level)}",
            )
            axes.plot(grid, [law.predict(at, level) for at in grid], color=colour)
            band = np.array([law.predict_interval(at, level) for at in grid])
            axes.fill_between(grid, band[:, 0], band[:, 1], color=colour, alpha=0.2, lw=0)
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=name)
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            ticks, labels = zip(*Scale(low, high, 0.0, 1.0, log=True).ticks(), strict=True)
            axis.set_ticks(ticks, labels)
            axis.set_minor_locator(NullLocator())
        if d is not None:
            axes.legend(frameon=False, fontsize=8)
        figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None, dpi=150)
