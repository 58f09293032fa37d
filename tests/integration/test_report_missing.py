"""Pages of folders that lack something or hold what is no result: what is missing is said, with the
command that makes it, and never a crash.
"""

import json
import re
import shlex
import shutil
from dataclasses import asdict

from support.pages import write_run, write_runs

from bench.cli import guarded
from bench.config.compose import compose
from bench.report import REPORT
from reports.output.html import render_html
from reports.output.pdf import render_pdf
from reports.page.pages import build_page
from reports.study.runs import read_study

NASTY = "repa/<b>&\"x'</script>"


def everything_of(root):
    """The page of everything, which uses every builder, rendered once; returns its data."""
    page = build_page(read_study(root), "all")
    json.dumps(asdict(page), allow_nan=False)
    render_html(page)
    return page


def test_no_folder_is_one_clear_message(tmp_path, capsys):
    assert guarded(REPORT.main, ["all", "--runs", str(tmp_path / "nothing")]) == 2
    error = capsys.readouterr().err
    assert "nothing" in error and "--runs" in error and "Traceback" not in error


def test_no_study_of_that_name(tmp_path, capsys):
    assert guarded(REPORT.main, ["all", "--runs", str(tmp_path), "--study", "demmo"]) == 2
    assert "did you mean demo" in capsys.readouterr().err


def test_a_study_that_is_not_of_digits_needs_no_word_on_its_data(tmp_path, capsys):
    words = ["all", "--runs", str(tmp_path), "--study", "wrong_encoders", "--no-pdf"]
    assert guarded(REPORT.main, words) == 0
    assert "There are no runs here" in capsys.readouterr().out


def test_no_runs(tmp_path):
    page = everything_of(tmp_path)
    assert "no runs" in page.notices[0]
    assert render_pdf(page).startswith(b"%PDF")


def test_one_run(tmp_path):
    write_run(tmp_path, "vanilla")
    notices = " ".join(everything_of(tmp_path).notices)
    assert "one seed only" in notices and "one arm only (Vanilla)" in notices


def test_only_unfinished_runs(tmp_path):
    write_runs(tmp_path, arms={"vanilla": 1.0, "selfflow": 0.9}, state="running")
    page = everything_of(tmp_path)
    assert "No run is finished" in page.notices[0]
    (over_training,) = [one for one in page.figures if one.id == "training-results"]
    assert "Values: " in over_training.caption, "what is shown"
    assert "Change from" not in over_training.caption
    assert any("running (measuring) at 65,536 of 131,072" in line.what for line in page.missing)
    assert page.missing[0].command.startswith("python -m bench.run method=")


def test_no_measurement(tmp_path):
    write_run(tmp_path, "vanilla", metrics=(), probes=False)
    (notice,) = [
        text for text in everything_of(tmp_path).notices if "No run has results yet" in text
    ]
    cfg = compose(shlex.split(notice.partition("python -m bench.run ")[2]))
    assert (cfg.method.name, cfg.measure, cfg.runs) == (
        "vanilla",
        "full",
        str(tmp_path),
    )


def test_what_is_not_measured_comes_with_the_command_that_measures_it(tmp_path):
    write_run(tmp_path, "vanilla")
    write_run(tmp_path, "selfflow", metrics=("fd_local",), probes=False)
    lines = {line.what.partition(" ")[0]: line.command for line in everything_of(tmp_path).missing}
    for metric in ("heldout_loss", "fd_pixels"):
        cfg = compose(shlex.split(lines[metric].partition("python -m bench.run ")[2]))
        assert (cfg.method.name, cfg.measure) == ("selfflow", "full")


def test_pictures_that_some_arms_lack_are_named(tmp_path):
    write_run(tmp_path, "vanilla")
    other = write_run(tmp_path, "dual_timestep")
    write_run(tmp_path, "selfflow", pictures=True)
    page = everything_of(tmp_path)
    captions = [figure.caption for part in page.sections for figure in part.figures]
    lacking = "Without a picture: Vanilla and Dual timestep."
    assert sum(lacking in caption for caption in captions) == 2
    lines = {
        line.what: line.command for line in page.missing if "none of Vanilla and Dual" in line.what
    }
    assert len(lines) == 2
    # what has its results is not measured again: they have to go first
    assert all(command.endswith("measure=full " + f"runs={tmp_path}") for command in lines.values())
    assert [command.startswith("rm ") for command in lines.values()] == [False, True]
    assert not any("none of" in line.what for line in everything_of(tmp_path / other.name).missing)


def test_an_arm_is_missing_at_one_size(tmp_path):
    write_runs(tmp_path, arms={"vanilla": 1.0, "selfflow": 0.9}, sizes=("nano",))
    write_runs(tmp_path, arms={"vanilla": 1.0}, sizes=("micro",))
    lines = everything_of(tmp_path).missing
    assert any(
        "Self-Flow has no run of size micro" in line.what and "size=micro" in line.command
        for line in lines
    )


def test_a_larger_size_of_one_arm_alone_does_not_take_the_answer(tmp_path):
    write_runs(tmp_path, arms={"vanilla": 1.0, "selfflow": 0.85}, seeds=7)
    before = everything_of(tmp_path).answers[0]
    assert before.question == "Does anything beat Vanilla?"
    for seed in range(7):
        write_run(tmp_path, "selfflow", 0.8, size="micro", seed=seed)
    assert everything_of(tmp_path).answers[0] == before


def test_an_interval_that_too_little_is_behind_is_not_called_untold(tmp_path):
    """Three arms of three seeds: four degrees of freedom, whatever the interval excludes."""
    write_runs(tmp_path, arms={"vanilla": 1.0, "selfflow": 0.85, "repa/local_m": 0.9}, seeds=3)
    (rivals,) = [one for one in everything_of(tmp_path).answers if one.question.endswith("REPA?")]
    assert "is not judged, as 3 seeds with 4 degrees of freedom are too few" in rivals.sentence
    assert "cannot be told" not in rivals.sentence


def test_damaged_files_are_named_and_left_out(tmp_path):
    first, second, third, fourth = write_runs(
        tmp_path, arms={"vanilla": 1.0, "selfflow": 0.9}, seeds=2
    )
    files = sorted((first / "results").glob("*"))
    for file, content in zip(
        files, (b"", b"{", b"\xff\xfe\x00", b'{"schema_version": 2}'), strict=False
    ):
        file.write_bytes(content)
    (second / "run.json").write_text("{")
    (third / "cost.json").write_text("no")
    (fourth / "config.json").write_text("a: [1")
    (fourth / "metrics.jsonl").write_text('{"images": 1}\n{"half\n')
    problems = "\n".join(everything_of(tmp_path).problems)
    named = [
        *(f"{first.name}/results/{file.name}" for file in files[:4]),
        second.name,
        f"{third.name}/cost.json",
        f"{fourth.name}/config.json",
        f"{fourth.name}/metrics.jsonl",
    ]
    for name in named:
        assert name in problems
    assert "schema version 2" in problems


def test_values_that_are_no_numbers(tmp_path):
    runs = write_runs(tmp_path, arms={"vanilla": 1.0, "selfflow": 0.9}, seeds=2)
    for run, value in zip(runs, ("NaN", "Infinity", "null", '"many"'), strict=True):
        file = sorted((run / "results").glob("samples-fd_local*"))[-1]
        file.write_text(re.sub(r'"value": [\d.]+', f'"value": {value}', file.read_text()))
    page = everything_of(tmp_path)
    json.dumps(asdict(page), allow_nan=False)
    assert "3 result rows have no value" in " ".join(page.notices)
    # three are numbers that are none, and a row that holds no number at all is left out
    values = {f"{run.name}: fd_local at 131,072 images has no finite value" for run in runs}
    named = values & set(page.problems)
    (other,) = set(page.problems) - named
    (left_out,) = values - named
    assert other.startswith(f"{left_out.partition(':')[0]}/results/") and "left out" in other


def test_names_are_escaped(tmp_path):
    for arm in (NASTY, "vanilla"):
        run = write_run(tmp_path, arm, pictures=True)
        described = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(
            json.dumps(described | {"data": "<img src=x onerror=alert(1)>"})
        )
    text = render_html(everything_of(tmp_path))
    assert NASTY not in text and "<img src=x" not in text
    assert "repa/&lt;b&gt;&amp;" in text and "REPA (&lt;b&gt;&amp;" in text
    assert "<b>&" not in text
    assert render_pdf(build_page(read_study(tmp_path), "cost")).startswith(b"%PDF")


def test_another_recipe_is_not_one_more_seed(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "vanilla", seed=seed)
    described = json.loads((tmp_path / "digits-vanilla-nano-s0-249e960a" / "run.json").read_text())
    changed = described | {"identity": {"seed": 0, "method": "vanilla", "optimizer.lr": 0.001}}
    (tmp_path / "digits-vanilla-nano-s0-249e960a" / "run.json").write_text(json.dumps(changed))
    page = everything_of(tmp_path)
    assert [style.arm for style in page.arms] == ["vanilla", "vanilla [optimizer.lr=0.001]"]
    assert "optimizer.lr" in " ".join(page.notices)
    counted = {row[0].text: row[4].text for row in page.numbers[0].rows}
    assert counted == {"vanilla": "2", "vanilla [optimizer.lr=0.001]": "1"}


def test_a_rate_of_each_sizes_own_is_no_difference(tmp_path):
    for size, rate in (("nano", 0.01), ("micro", 0.002)):
        for run in write_runs(tmp_path, {"vanilla": 1.0, "selfflow": 0.9}, (size,), seeds=2):
            described = json.loads((run / "run.json").read_text(encoding="utf-8"))
            changed = described | {"identity": {"optimizer.lr": rate}}
            (run / "run.json").write_text(json.dumps(changed), encoding="utf-8")
    page = everything_of(tmp_path)
    assert not any("Runs differ" in notice for notice in page.notices), page.notices
    assert {style.arm for style in page.arms} == {"vanilla", "selfflow"}


def test_a_run_that_failed_in_training_is_named_and_left_in(tmp_path):
    """One of twenty runs whose distances and losses are a third higher."""
    arms = {"vanilla": 1.0, "selfflow": 0.9, "dispersive": 1.1, "sra": 0.95}
    runs = write_runs(tmp_path, arms, seeds=5)
    assert not any("stand" in notice for notice in everything_of(tmp_path).notices)
    shutil.rmtree(runs[8])
    failed = write_run(tmp_path, "selfflow", 1.2, seed=3)
    assert failed == runs[8]
    page = everything_of(tmp_path)
    (notice,) = [notice for notice in page.notices if "far apart" in notice]
    assert notice.startswith(
        f"1 run stands far apart from the others of the same arm: {failed.name} ("
    )
    assert "Nothing was left out" in notice
    counted = {row[0].text: row[4].text for row in page.numbers[0].rows}
    assert counted["selfflow"] == "5"
