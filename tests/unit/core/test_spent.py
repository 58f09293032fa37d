"""Hours of a snapshot: what training had taken when it was written,
not when something was last logged.
"""

import json

import pytest

from bench.evaluation.subject import spent_until


def test_hours_are_linear_between_logged_lines(tmp_path):
    lines = [
        {"images": images, "time": {"total_seconds": seconds}}
        for images, seconds in ((1000, 36.0), (3000, 108.0))
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    hours = [spent_until(tmp_path, images)["hours"] for images in (500, 1000, 1500, 3000)]
    assert hours == pytest.approx([0.005, 0.01, 0.015, 0.03])


def test_hours_are_unknown_without_a_line(tmp_path):
    assert spent_until(tmp_path, 500) == {"flops": None, "hours": None}
