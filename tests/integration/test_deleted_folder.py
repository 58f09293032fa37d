"""A run folder deleted in the middle: the run ends and says so, and no hollow folder comes back."""

import shutil

import pytest
from support.runs import only_run, run_in_process, tiny_run

from bench.cli import FAILED
from bench.core.train.trainer import Trainer
from bench.evaluation import samples


def delete(runs):
    shutil.rmtree(only_run(runs))


@pytest.mark.parametrize("saving", ["checkpoint_images=512", "checkpoint_images=64Ki snapshots=3"])
def test_while_training_with_rare_lines(tmp_path, monkeypatch, capsys, saving):
    step, steps = Trainer.step, []

    def deleting_step(trainer, source):
        steps.append(source)
        if len(steps) == 2:
            delete(tmp_path)
        step(trainer, source)

    monkeypatch.setattr(Trainer, "step", deleting_step)
    assert run_in_process(tiny_run(tmp_path, "log_images=64Ki", *saving.split())) == FAILED
    assert "was deleted while" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_while_measuring(tmp_path, monkeypatch, capsys):
    whole = samples.sample_block

    def sample_block(*arguments):
        delete(tmp_path)
        return whole(*arguments)

    monkeypatch.setattr(samples, "sample_block", sample_block)
    words = ("images=512", "measure=full", "evaluation.samples=64", "evaluation.metrics=[fd_local]")
    assert run_in_process(tiny_run(tmp_path, *words)) == FAILED
    assert "was deleted while" in capsys.readouterr().err and not list(tmp_path.iterdir())
