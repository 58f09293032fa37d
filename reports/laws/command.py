"""A scaling law of any table: its parameters, its curve and its picture.

    python -m bench.report fit --csv runs.csv --x parameters --y heldout_loss
    python -m bench.report fit --csv runs.csv --x N --x2 D --y loss --out law.svg
    python -m bench.report fit --csv runs.csv --x N --x2 D --y loss --run run

Rows that share x (and x2) are taken as seeds; without any, intervals come from resampled rows.
Rows of one run (its snapshots, where they are honest shorter runs) share that run's luck.
"""

from __future__ import annotations

from pathlib import Path

from reports.draw.axes import number
from reports.laws.comparison import predict_largest
from reports.laws.fits import MANY_ROWS, Law, Refusal, fit_power_law
from reports.laws.picture import TablePoints, draw_law
from reports.laws.table_file import read_columns
from reports.laws.words import MISFIT


def fit_table(
    csv: Path, x: str, y: str, x2: str = "", run: str = "", out: Path | None = None
) -> None:
    """Print the law of the columns x (size), x2 (data seen, "" for none) and y (what falls), and
    write its picture.

    run: the column that says which run a row is a snapshot of, "" where every row is a run; out: an
    .svg or a .png, by default beside the table. Raises ValueError for what the user can mend.
    """
    out = out or csv.with_name(f"{csv.stem}-fit.svg")
    if out.suffix not in (".svg", ".png"):
        raise ValueError(f"--out {out}: the picture is written as .svg or .png")
    if run and not x2:
        raise ValueError(f"--run {run}: snapshots of a run differ in data seen; give it as --x2")
    if run and run in (x, x2, y):
        raise ValueError(f"--run {run}: that column is fitted; name one that says which run it was")
    table = read_columns(csv, [name for name in (x, y, x2) if name], [run] if run else [])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--out {out}: the folder {out.parent} cannot be made ({error.strerror})"
        ) from None
    n, values, d = table[x], table[y], table.get(x2)
    law = fit_power_law(n, values, d, runs=table.get(run))
    print("\n".join(law_lines(law, x, y, x2)))
    if d is None:
        try:
            foretold = predict_largest(n, values)
            print(
                f"{y} at {x} = {number(foretold.n)} from the smaller ones: "
                f"{foretold.predicted:.5g} "
                f"({foretold.low:.5g} to {foretold.high:.5g}); measured: {foretold.measured:.5g}"
            )
        except Refusal as reason:
            print(f"no prediction of the largest {x} from the smaller ones: {reason}")
    draw_law(law, TablePoints(n, values, d, (x, y, x2)), out)
    print(f"curve: {out}")


def law_lines(law: Law, x: str, y: str, x2: str = "") -> list[str]:
    """Lines that say what was fitted, and where the intervals come from."""
    form = f"{y} = E + A {x}^-a" + (f" + B {x2}^-b" if x2 else "")
    lines = [form, "parameter       value   95 % interval"]
    for name in law.names:
        low, high = law.interval(name)
        lines.append(f"{name:<9}{law[name]:>12.5g}   {low:.5g} to {high:.5g}")
    whence = {
        "seeds": "from seeds",
        "rows": "from residuals; intervals: rows drawn with replacement",
        "residuals": "from residuals, taken as normal"
        + ("" if law.run_deviation else f": under {MANY_ROWS} rows are too few to resample"),
    }[law.source]
    lines.append(
        f"deviation of a row: {100 * law.deviation:.2g} % ({law.df} degrees of freedom, {whence})"
    )
    if law.run_deviation:
        lines.append(f"of it shared by the rows of a run: {100 * law.run_deviation:.2g} %")
    if law.misfit is not None and law.misfit < MISFIT:
        lines.append(
            f"the form misses the means by more than seeds explain (p {number(law.misfit, 2)}): "
            "intervals take it for true"
        )
    return lines
