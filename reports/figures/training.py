"""What happened during training: loss, alignment cosine and agreement of the gradients of the two terms."""

from __future__ import annotations

from typing import Any

from reports.figures import Figure, figure
from reports.runs import Study, mapping, training_curve
from reports.theme import sorted_arms

MOST_RUNS = 120  # whose metrics.jsonl are read for these figures
TITLES = {
    "alignment_cosine": ("alignment", "cosine, head's output to target"),
    "gradient_agreement": ("agreement of the gradients", "cosine, velocity to representation term"),
    "velocity": ("training loss", "velocity term (MSE)"),
}


def curves(study: Study) -> list[Figure]:
    """Mean over seeds of each arm, one panel a quantity and size."""
    chosen = list(study.runs.values())[:: max(1, len(study.runs) // MOST_RUNS)]
    collected: dict[tuple[str, str, str], dict[int, list[float]]] = {}
    for run in chosen:
        size = str(run.description.get("size", "?"))
        for line in training_curve(run, study.problems):
            quantities = dict(mapping(line.get("diagnostics")))
            quantities["velocity"] = mapping(line.get("loss")).get("velocity")
            for name, value in quantities.items():
                if isinstance(value, int | float) and isinstance(line.get("images"), int) and value == value:
                    collected.setdefault((name, size, run.arm), {}).setdefault(line["images"], []).append(float(value))
    panels = []
    order = {name: index for index, name in enumerate(TITLES)}
    for name, size in sorted(
        {(name, size) for name, size, _ in collected}, key=lambda key: (order.get(key[0], 9), key)
    ):
        arms = sorted_arms(arm for quantity, of_size, arm in collected if (quantity, of_size) == (name, size))
        series = [
            {"arm": arm, "markers": False, "points": _points(collected[name, size, arm])} for arm in arms
        ]  # fmt: skip
        title, label = TITLES.get(name, (name.replace("_", " "), name.replace("_", " ")))
        x, y = {"label": "training images", "log": False}, {"label": label, "log": False}
        panels.append({"kind": "line", "title": f"{title} · {size}", "x": x, "y": y, "series": series, "rules": []})
    caption = "Mean over seeds of what was logged while training."
    if len(chosen) < len(study.runs):
        caption += f" Read from {len(chosen)} of {len(study.runs)} runs."
    return figure("training", "While training", caption, panels)


def _points(values: dict[int, list[float]]) -> list[dict[str, Any]]:
    return [
        {"x": images, "y": sum(found) / len(found), "low": None, "high": None, "n": len(found)}
        for images, found in sorted(values.items())
    ]
