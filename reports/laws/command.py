"""A scaling law of any table: its parameters, its curve and its picture.

    python -m bench.report fit --csv runs.csv --x parameters --y heldout_loss
    python -m bench.report fit --csv runs.csv --x N --x2 D --y loss --out law.svg

Rows that share x (and x2) are taken as seeds. Parameters are printed with 95 % intervals; the curve
is a picture file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reports.draw.axes import Scale, number
from reports.laws.comparison import predict_largest
from reports.laws.fits import Law, Refusal, fit_power_law


def fit_table(csv: Path, x: str, y: str, x2: str = "", out: Path | None = None) -> None:
    """Print the law of the columns x (size), x2 (data seen, "" for none) and y (what falls), and
    write its picture.

    out: an .svg or a .png, by default beside the table. Raises ValueError for what the user can
    mend.
    """
    out = out or csv.with_name(f"{csv.stem}-fit.svg")
    if out.suffix not in (".svg", ".png"):
        raise ValueError(f"--out {out}: the picture is written as .svg or .png")
    n, y_values, d = read_columns(csv, x, y, x2)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--out {out}: the folder {out.parent} cannot be made ({error.strerror})"
        ) from None
    law = fit_power_law(n, y_values, d)
    print("\n".join(law_lines(law, x, y, x2)))
    if d is None:
        try:
            foretold = predict_largest(n, y_values)
            print(
                f"{y} at {x} = {number(foretold.n)} from the smaller ones: "
                f"{foretold.predicted:.5g} "
                f"({foretold.low:.5g} to {foretold.high:.5g}); measured: {foretold.measured:.5g}"
            )
        except Refusal as reason:
            print(f"no prediction of the largest {x} from the smaller ones: {reason}")
    draw_law(law, n, y_values, d, x, y, x2, out)
    print(f"curve: {out}")


def read_columns(
    path: Path, x: str, y: str, x2: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The columns x, y and x2 (None for "") of a table as numbers.

    Raises ValueError for a missing file or column, or a word in it.
    """
    import pandas as pd

    if not path.exists():
        raise ValueError(f"no file {path}: give a table with a header line with --csv")
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table: {error}") from None

    def column(name: str) -> np.ndarray:
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
        return values.to_numpy(float)

    return column(x), column(y), column(x2) if x2 else None


def law_lines(law: Law, x: str, y: str, x2: str = "") -> list[str]:
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


def draw_law(
    law: Law,
    n: np.ndarray,
    y: np.ndarray,
    d: np.ndarray | None,
    x_name: str,
    y_name: str,
    d_name: str,
    out: Path,
) -> None:
    """Points, curve and its 95 % band on logarithmic axes; with a second axis one curve for each
    value of D.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    with matplotlib.rc_context({"svg.hashsalt": "fit", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(6, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        # points, curve and band of each level of D
        grid = np.geomspace(n.min(), n.max() * 2, 60)
        levels = [None] if d is None else [float(value) for value in np.unique(d)]
        for index, level in enumerate(levels):
            colour = f"C{index % 10}"
            here = np.ones(len(n), bool) if level is None else d == level
            name = None if level is None else f"{d_name} = {number(level)}"
            axes.plot(n[here], y[here], "o", color=colour, ms=4, label=name)
            axes.plot(grid, [law.predict(at, level) for at in grid], color=colour)
            band = np.array([law.predict_interval(at, level) for at in grid])
            axes.fill_between(grid, band[:, 0], band[:, 1], color=colour, alpha=0.2, lw=0)
        # axes with the ticks of a page
        axes.set(xscale="log", yscale="log", xlabel=x_name, ylabel=y_name)
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            ticks, labels = zip(*Scale(low, high, 0.0, 1.0, log=True).ticks(), strict=True)
            axis.set_ticks(ticks, labels)
            axis.set_minor_locator(NullLocator())
        if d is not None:
            axes.legend(frameon=False, fontsize=8)
        # no date, so that the same table gives the same bytes
        figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None, dpi=150)
