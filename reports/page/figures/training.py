"""What happened during training: loss, alignment, agreement of the gradients; then loss and gap by
noise level.
"""

from __future__ import annotations

from collections.abc import Iterator

from reports.draw.content import Axis, Figure, LinePanel, Place, Point, Series, figures_by_place
from reports.study.groups import sorted_arms
from reports.study.runs import StudyResults, mapping, training_curve

MOST_RUNS = 120  # whose metrics.jsonl are read for these figures
TITLES = {
    "alignment_cosine": ("alignment", "cosine, head's output to target"),
    "gradient_agreement": ("agreement of the gradients", "cosine, velocity to representation term"),
    "velocity": ("training loss", "velocity term (MSE)"),
}
QUARTERS = ("0 to ¼", "¼ to ½", "½ to ¾", "¾ to 1")
DETAILS = (
    {"feature_norm": ("student block's output", "root mean square")}
    | {
        f"loss_t{i}": (f"training loss, t {span}", "velocity term (MSE)")
        for i, span in enumerate(QUARTERS)
    }
    | {
        f"gap_t{i}": (f"student to target, t {span}", "1 − cosine")
        for i, span in enumerate(QUARTERS)
    }
)


# quantity, place -> arm -> images -> the values of its runs
Logged = dict[tuple[str, Place], dict[str, dict[int, list[float]]]]


def curves(study: StudyResults) -> list[Figure]:
    """Mean over seeds of each arm, a figure a data set and size; the details are folded."""
    # read: of many runs a part, evenly chosen
    chosen = list(study.runs.values())[:: max(1, len(study.runs) // MOST_RUNS)]
    logged: Logged = {}
    for run in chosen:
        place = (run.data, run.size)
        for line in training_curve(run, study.problems):
            quantities = dict(mapping(line.get("diagnostics")))
            quantities["velocity"] = mapping(line.get("loss")).get("velocity")
            images = line.get("images")
            for name, value in quantities.items():
                if isinstance(value, int | float) and isinstance(images, int) and value == value:
                    curve = logged.setdefault((name, place), {}).setdefault(run.arm, {})
                    curve.setdefault(images, []).append(float(value))
    # draw: first what every run has, then the details
    caption = "Mean over seeds of what was logged while training."
    if len(chosen) < len(study.runs):
        caption += f" Read from {len(chosen)} of {len(study.runs)} runs."
    by_level = f"{caption} Noise levels are those of the tokens; t = 1 is noise."
    details = {key: arms for key, arms in logged.items() if key[0] in DETAILS}
    main = {key: arms for key, arms in logged.items() if key[0] not in DETAILS}
    order = list(study.first_seeds())
    return [
        *figures_by_place("training", "While training", caption, _panels(main, TITLES), order),
        *figures_by_place(
            "training-levels",
            "While training, by noise level",
            by_level,
            _panels(details, DETAILS),
            order,
            folded=True,
        ),
    ]


def _panels(
    logged: Logged, titles: dict[str, tuple[str, str]]
) -> Iterator[tuple[Place, LinePanel]]:
    """A panel for each quantity and place, quantities in the order of the titles."""
    order = {name: index for index, name in enumerate(titles)}
    for (name, place), arms in sorted(
        logged.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])
    ):
        series = [Series(arm, _points(arms[arm]), markers=False) for arm in sorted_arms(arms)]
        title, label = titles.get(name, (name.replace("_", " "), name.replace("_", " ")))
        title = " · ".join((title, *place))
        yield place, LinePanel(title, Axis("training images"), Axis(label), series)


def _points(values: dict[int, list[float]]) -> list[Point]:
    return [
        Point(images, sum(found) / len(found), n=len(found))
        for images, found in sorted(values.items())
    ]
