"""What happened during training: loss, alignment, agreement of the gradients; then loss and gap by
noise level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from reports.draw.axes import rounded
from reports.draw.panels import (
    Axis,
    Figure,
    LinePanel,
    Place,
    Point,
    Series,
    Shown,
    chosen_figures,
)
from reports.study.groups import sorted_arms
from reports.study.runs import StudyResults, mapping, training_curve

MOST_RUNS = 120  # whose metrics.jsonl are read for these figures
TITLES = {
    "alignment_cosine": ("alignment", "cosine, head's output to target"),
    "gradient_agreement": ("agreement of the gradients", "cosine, velocity to representation"),
    "velocity": ("training loss", "velocity term (MSE)"),
}
BESIDE = ("quantity",)
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


OfRun = dict[int, float]  # images: value, of one run
Logged = dict[tuple[str, Place], dict[str, dict[str, OfRun]]]  # quantity, place -> arm -> run


def curves(study: StudyResults) -> list[Figure]:
    """Mean over seeds of each arm; the details are folded."""
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
                    of_arm = logged.setdefault((name, place), {}).setdefault(run.arm, {})
                    of_arm.setdefault(run.id, {})[images] = float(value)
    # draw: first what every run has, then the details
    caption = "Mean over seeds of what was logged while training, where every run has a line."
    if len(chosen) < len(study.runs):
        caption += f" Read from {len(chosen)} of {len(study.runs)} runs."
    by_level = f"{caption} Noise levels are those of the tokens; t = 1 is noise."
    details = {key: arms for key, arms in logged.items() if key[0] in DETAILS}
    main = {key: arms for key, arms in logged.items() if key[0] not in DETAILS}
    order = list(study.first_seeds())
    return [
        *chosen_figures(
            "training", "While training", caption, _panels(main, TITLES), order, beside=BESIDE
        ),
        *chosen_figures(
            "training-levels",
            "While training, by noise level",
            by_level,
            _panels(details, DETAILS),
            order,
            folded=True,
            beside=BESIDE,
        ),
    ]


def _panels(
    logged: Logged, titles: dict[str, tuple[str, str]]
) -> Iterator[tuple[Place, Shown, LinePanel]]:
    """A panel for each quantity and place, quantities in the order of the titles."""
    order = {name: index for index, name in enumerate(titles)}
    for (name, place), arms in sorted(
        logged.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])
    ):
        series = [Series(arm, _points(arms[arm]), markers=False) for arm in sorted_arms(arms)]
        if all(len(one.points) < 2 for one in series):
            continue  # a single moment says nothing of what happened while training
        title, label = titles.get(name, (name.replace("_", " "), name.replace("_", " ")))
        shown, title = {"quantity": title}, " · ".join((title, *place))
        yield place, shown, LinePanel(title, Axis("training images"), Axis(label), series)


def _points(runs: Mapping[str, OfRun]) -> list[Point]:
    """The mean where every run has a line: at the images of the run with fewest lines there, while
    each other one is read on a straight line between its own.
    """
    start = max(min(curve) for curve in runs.values())
    end = min(max(curve) for curve in runs.values())
    shared = [[at for at in sorted(curve) if start <= at <= end] for curve in runs.values()]
    places = min(shared, key=len)
    read = [
        np.interp(places, sorted(curve), [curve[at] for at in sorted(curve)])
        for curve in runs.values()
    ]
    means = np.mean(read, axis=0).tolist() if places else []
    return [Point(at, rounded(mean), n=len(runs)) for at, mean in zip(places, means, strict=True)]
