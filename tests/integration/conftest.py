"""What tests of several files measure."""

import pytest
from support.runs import only_run, run_in_process, tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a small run, one for each file of tests."""
    runs = tmp_path_factory.mktemp("runs")
    assert run_in_process(tiny_run(runs)) == 0
    return only_run(runs)
