"""init=runs/<run>: a run that begins from another one's weights, and what is refused."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from support.runs import last_weights, numbers, only_run, run_cli, run_in_process, tiny_run

from bench.config.compose import compose
from bench.config.identity import identity, run_id
from bench.core.store import weight_files
from bench.core.store.files import read_json
from bench.core.store.runs import read_run
from bench.core.train import distributed
from bench.core.train.trainer import Trainer
from bench.study.runs import spec_of
from bench.training.session import Session
from reports.draw.theme import arm_label
from reports.page.commands import training_command
from reports.study.runs import read_study


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A finished Self-Flow run whose checkpoint is there."""
    runs = tmp_path_factory.mktemp("pretrained")
    assert run_in_process(tiny_run(runs, "method=selfflow", "images=512")) == 0
    return only_run(runs)


def begun(words):
    """A learner that a session of these words has begun, before its first step; what it said."""
    session, said = Session(compose(words)), []
    session.assemble(distributed.start("cpu"))
    session.open_folder()
    trainer = Trainer(session.arm.learner(), session.folder)
    if session.source:
        trainer.on_beginning = lambda learner: said.append(session.source.load(learner))
    trainer.restore()
    session.close()
    return trainer.learner, said


def copied(pretrained, folder, heads=True):
    run = shutil.copytree(pretrained, folder / pretrained.name)
    if not heads:
        shutil.rmtree(run / "checkpoints")
    return run


def test_backbone_and_average_are_the_other_runs_average(pretrained, tmp_path):
    learner, (said,) = begun(tiny_run(tmp_path, "method=vanilla", f"init={pretrained}"))
    (theirs,) = [load_file(weight_files.snapshots(pretrained)[512])]
    for module in (learner.backbone, learner.ema):
        state = module.state_dict()
        assert state.keys() == theirs.keys()
        assert all(torch.equal(state[key], theirs[key]) for key in theirs)
    assert learner.images == 0 and not learner.optimizer.state
    assert said == f"begins from {pretrained.name}, its average after 512 images"


def test_heads_are_those_of_the_same_method_and_begin_anew_elsewhere(pretrained, tmp_path):
    (newest,) = weight_files.checkpoints(pretrained / "checkpoints")[-1:]
    theirs = torch.load(newest, weights_only=True)["heads"]
    learner, (said,) = begun(tiny_run(tmp_path / "a", "method=selfflow", f"init={pretrained}"))
    own = learner.heads.state_dict()
    assert own and all(torch.equal(own[key], theirs[key]) for key in theirs)
    assert said.endswith("and from its heads")

    learner, (said,) = begun(tiny_run(tmp_path / "b", "method=sra", f"init={pretrained}"))
    fresh, _ = begun(tiny_run(tmp_path / "c", "method=sra"))
    own, of_fresh = learner.heads.state_dict(), fresh.heads.state_dict()
    assert own and all(torch.equal(own[key], of_fresh[key]) for key in own)
    assert said.endswith(
        "heads begin anew: that run trained another method, or with another encoder"
    )

    lost = copied(pretrained, tmp_path, heads=False)
    _, (said,) = begun(tiny_run(tmp_path / "d", "method=selfflow", f"init={lost}"))
    assert said.endswith("heads begin anew: that run has no checkpoint after 512 images any more")


def test_what_it_begins_from_is_what_the_run_is(pretrained, tmp_path):
    plain = compose(["method=vanilla"])
    assert "init_weights" not in identity(plain) and plain.init_weights is None
    from_it = compose(["method=vanilla", f"init={pretrained}"])
    assert run_id(from_it) != run_id(plain)

    # the same weights elsewhere are the same run, others at the same path are another one
    elsewhere = copied(pretrained, tmp_path)
    words = ["method=vanilla", f"init={elsewhere}"]
    assert run_id(compose(words)) == run_id(from_it)
    older, newer = weight_files.snapshots(elsewhere).values()
    shutil.copyfile(older, newer)
    assert run_id(compose(words)) != run_id(from_it)

    # heads are part of it where they are taken over
    with_heads = compose(["method=selfflow", f"init={pretrained}"])
    without = compose(
        ["method=selfflow", f"init={copied(pretrained, tmp_path / 'b', heads=False)}"]
    )
    assert with_heads.init_weights.startswith(f"{without.init_weights}+")
    assert run_id(with_heads) != run_id(without)
    with pytest.raises(ValueError, match="init_weights follows from the run that is begun from"):
        compose(["init_weights=0123"])


def test_a_run_that_begins_there_learns_from_there_and_says_so(pretrained, tmp_path, capsys):
    words = tiny_run(tmp_path, "method=vanilla", "images=512")
    assert run_in_process(words) == 0
    fresh = numbers(only_run(tmp_path))
    assert run_in_process([*words, f"init={pretrained}"]) == 0
    assert f"begins from {pretrained.name}, its average after 512 images" in capsys.readouterr().out
    (run,) = (one for one in map(read_run, tmp_path.glob("*-*/")) if one.init)
    begun_there = numbers(run.folder)
    assert [line["images"] for line in begun_there] == [line["images"] for line in fresh]
    assert begun_there[0]["loss"]["velocity"] < fresh[0]["loss"]["velocity"]

    # what a report is told
    assert run.init == {"run": pretrained.name, "arm": "selfflow", "images": 512}
    weights = read_json(run.folder / "config.json")["init_weights"]
    assert run.identity["init_weights"] == weights
    name = f"digits-selfflow-nano-s0@{weights[:8]}"
    assert run.recipe["init"] == name and "init_weights" not in run.recipe
    arms = read_study(tmp_path).arms
    assert arms == ["vanilla", f"vanilla [init={name}]"]
    assert [arm_label(arm) for arm in arms] == ["Vanilla", f"Vanilla from {name}"]
    both = arm_label(f"vanilla [init={name}, optimizer.lr=0.1]")
    assert both == f"Vanilla from {name} [optimizer.lr=0.1]"
    assert f"init={pretrained}" in training_command(run)


def test_it_goes_on_without_the_other_run_once_it_has_a_checkpoint(pretrained, tmp_path, capsys):
    source = copied(pretrained, tmp_path / "sources")
    runs = tmp_path / "runs"
    words = tiny_run(runs, "method=selfflow", "images=1Ki", f"init={source}")
    assert run_in_process(words) == 0
    run = only_run(runs)
    whole, lines = last_weights(run), numbers(run)
    described = read_json(run / "run.json")

    # back at its first checkpoint but one
    last = weight_files.checkpoints(run / "checkpoints")[-1]
    last.unlink()
    for snapshot in weight_files.snapshots(run).values():
        snapshot.unlink()
    shutil.rmtree(source)
    capsys.readouterr()
    assert run_in_process(words) == 0 and only_run(runs) == run
    assert "begins from" not in capsys.readouterr().out
    assert last_weights(run) == whole and numbers(run) == lines
    assert read_json(run / "run.json") == described

    # before its first checkpoint it needs the run
    shutil.rmtree(run / "checkpoints")
    for snapshot in weight_files.snapshots(run).values():
        snapshot.unlink()
    before = sorted(path for path in runs.rglob("*") if path.is_file())
    assert run_in_process(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no checkpoint of this run was saved yet" in said
    assert before == sorted(path for path in runs.rglob("*") if path.is_file())


REFUSED = {
    "another size": (["size=micro"], "size.depth is 4 there (size=nano) and "),
    "another patch": (["data.patch=4"], "a token has 4 numbers there and 16 here"),
    "several kinds of data": (["data=mixed", "size=nano"], "its data are of one kind and here "),
}


@pytest.mark.parametrize("words, says", REFUSED.values(), ids=REFUSED)
def test_another_layout_is_refused_before_anything_is_written(
    words, says, pretrained, tmp_path, capsys
):
    assert run_in_process(tiny_run(tmp_path, "method=vanilla", f"init={pretrained}", *words)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"init={pretrained} is of another layout: " in said
    assert says in said and said.rstrip().endswith("or leave init= out")
    assert not list(tmp_path.glob("*/run.json")) and not list(tmp_path.glob("*/config.json"))


def test_a_path_without_weights_is_refused_in_one_sentence(pretrained, tmp_path, capsys):
    nothing = copied(pretrained, tmp_path / "nothing")
    for snapshot in weight_files.snapshots(nothing).values():
        snapshot.unlink()
    damaged = copied(pretrained, tmp_path / "damaged")
    file = weight_files.snapshots(damaged)[512]
    file.write_bytes(file.read_bytes()[:-100])
    other = copied(pretrained, tmp_path / "heads")
    (newest,) = weight_files.checkpoints(other / "checkpoints")[-1:]
    newest.write_bytes(newest.read_bytes()[:-100])
    runs = tmp_path / "runs"
    for path, says in {
        tmp_path: "is no folder of a run (no run.json)",
        nothing: "has no snapshot to begin from: train it first, python -m bench.run ",
        damaged: "is damaged (",
        other: "is damaged (its checksum differs)",
    }.items():
        words = tiny_run(runs, "method=selfflow", f"init={path}")
        assert run_in_process(words) in (1, 2), path
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and says in said, (path, said)
        assert not list(runs.glob("*/metrics.jsonl")) or path == other


@pytest.mark.slow
def test_several_processes_begin_from_the_same_weights(pretrained, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    words = ["method=selfflow", "images=256", f"init={pretrained}"]
    assert run_in_process(tiny_run(alone, *words)) == 0
    said = run_cli(
        "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "bench.run",
        *tiny_run(together, *words),
    )  # fmt: skip
    assert said.returncode == 0, said.stderr[-2000:]
    assert said.stdout.count("begins from") == 1
    for one, other in zip(numbers(only_run(alone)), numbers(only_run(together)), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_arms_of_a_study_may_begin_from_a_run(pretrained):
    words = ("data=digits", "method=vanilla", "seed=1")
    there = spec_of("from it", (*words, f"init={pretrained}"))
    assert there.id and there.id != spec_of("fresh", words).id
    missing = spec_of("from nothing", (*words, "init=runs/none"))
    assert missing.id is None and "is no folder of a run" in missing.reason
