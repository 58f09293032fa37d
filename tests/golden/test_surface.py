"""Help pages, configurations and result rows are what they were when surface/
was captured (see surface.py).
"""

import json

import pytest
import yaml
from golden.surface import (
    COMMANDS,
    CONFIGURATIONS,
    STORED,
    configuration,
    help_page,
    refusals,
    result_rows,
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_page(command):
    assert help_page(command) == (STORED / f"help_{command}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configuration(name):
    stored = (STORED / f"configuration_{name}.yaml").read_text(encoding="utf-8")
    assert configuration(CONFIGURATIONS[name]) == yaml.safe_load(stored)


def test_refusals(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # a command that does not refuse leaves nothing in the project
    stored = (STORED / "refusals.txt").read_text(encoding="utf-8").splitlines()
    assert refusals() == dict(zip(stored[::2], (line[4:] for line in stored[1::2]), strict=True))


def test_a_row_of_every_metric(tmp_path):
    stored = json.loads((STORED / "rows.json").read_text(encoding="utf-8"))
    found = result_rows(tmp_path)
    assert found.keys() == stored.keys()
    for kind, rows in stored.items():
        assert len(found[kind]) == len(rows), kind
        for expected, row in zip(rows, found[kind], strict=True):
            numbers = ("value", "real")
            assert {k: v for k, v in row.items() if k not in numbers} == {
                k: v for k, v in expected.items() if k not in numbers
            }
            # a pass of another processor differs, and a probe has 600 answers; an encoder that is
            # trained on the spot has other weights there
            on_the_spot = str(row["protocol"].get("extractor")).startswith("local")
            near = {"rel": 0.05, "abs": 4 / 64} if on_the_spot else {"rel": 0.02, "abs": 0.01}
            for number in numbers:
                expects = expected[number] and pytest.approx(expected[number], **near)
                assert row[number] == expects, (kind, row["metric"])
