"""The one grammar of all commands: words become typed arguments, mistakes one sentence that names
the word and the remedy, and the help page says every key.
"""

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import BAD_INPUT, EXIT_OF_SIGNAL, FAILED, Command, StopFlag, guarded
from bench.config.keys import (
    Choice,
    Count,
    File,
    Flag,
    Folder,
    ImagesSeen,
    Number,
    Several,
    Text,
    Whole,
)
from bench.config.words import ImageCount, last_of_each

BREW = Command(
    "brew",
    does="Brew a pot.",
    body="tests.unit.config.test_cli:brew",
    keys={
        "leaf": Choice("which leaf", among=("green", "black"), required=True),
        "out": Folder("where the pot stands", default=Path("kitchen")),
        "recipe": File("what says how; default: by heart"),
        "minutes": Whole("how long", default=3, least=1),
        "strength": Number("of the tea", default=0.5, within="(0, 1]"),
        "cups": Count("how many", default=2),
        "until": ImagesSeen("when it ends"),
        "milk": Flag("with milk", default=True),
        "Extras": {"with_": Several("sweets", of=Text("one"), default=("biscuit",))},
    },
    examples={"leaf=green": "the usual", "leaf=black milk=false": ""},
    first="leaf",
)
ANY = Command("any", does="Hand on.", body="x:y", keys={"own": Text("own")}, passes=("",))
brewed = []


def brew(**arguments):
    brewed.append(arguments)
    return 7


def refusal(command, *words):
    with pytest.raises(ValueError) as error:
        command.parse(words)
    return str(error.value)


def test_words_become_typed_arguments_and_the_rest_are_defaults():
    said = BREW.parse(["leaf=green", "out=~/tea", "cups=1Ki", "until=4Ksteps", "with_=a,b"])
    assert said == {
        "leaf": "green",
        "out": Path.home() / "tea",
        "recipe": None,
        "minutes": 3,
        "strength": 0.5,
        "cups": 1024,
        "until": ImageCount(4000, True, "4Ksteps"),
        "milk": True,
        "with_": ("a", "b"),
    }
    assert said["until"].images("until", batch=64) == 256_000


@pytest.mark.parametrize(
    "words",
    [
        ["leaf=green", "milk=false", "minutes=5"],
        ["--leaf=green", "--milk=false", "--minutes=5"],
        ["--leaf", "green", "--no-milk", "--minutes", "5"],
        ["--minutes", "5", "green", "--milk", "false"],
        ["green", "--no-milk", "minutes=5"],
    ],
    ids=" ".join,
)
def test_every_spelling_says_the_same(words):
    said = BREW.parse(words)
    assert (said["leaf"], said["milk"], said["minutes"]) == ("green", False, 5)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["leef=green"], "leef=green: there is no key 'leef'; did you mean leaf? (see --help)"),
        (["leaf=gren"], "leaf=gren is unknown; did you mean green? (choices: green, black)"),
        (["grean"], "leaf=grean is unknown; did you mean green? (choices: green, black)"),
        (["green", "black"], "'black' is not KEY=VALUE; the keys are leaf, out, recipe, minutes,"),
        (["minutes=5"], "LEAF (green|black) missing (see --help)"),
        (["green", "leaf=black"], "leaf= is given twice, green and black: leave one of them"),
        (["green", "minutes="], "minutes= says nothing: write minutes=N, or leave it out"),
        (["green", "minutes=0"], "minutes=0 is not a whole number of at least 1"),
        (["green", "minutes=2.5"], "minutes=2.5 is not a whole number of at least 1"),
        (["green", "strength=strong"], "strength=strong is not a number: write it like 0.5"),
        (["green", "strength=nan"], "strength=nan is outside (0, 1]: choose a value inside"),
        (["green", "strength=0"], "strength=0.0 is outside (0, 1]: choose a value inside"),
        (["green", "milk=maybe"], "milk=maybe is neither true nor false"),
        (["green", "--minutes"], "--minutes is followed by no value: write minutes=N (see --help)"),
        (
            ["green", "--minutes", "--milk"],
            "--minutes is followed by no value: write minutes=N (see",
        ),
        (["green", "with_=a,b,a"], "with_=a,b,a has a twice: once is enough"),
        (["green", "cups=2steps"], "cups=2steps: this counts no steps"),
        (["green", "cups=1.5"], "cups=1.5 makes 1.5: a count is a whole number from 1 to 2^53"),
        (["green", "cups=1e999"], "cups=1e999 is not a count: write it like 65536, 64Ki, 1e6"),
        (
            ["green", "zzz=1"],
            "zzz=1: there is no key 'zzz'; the keys are leaf, out, recipe, minutes,",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_that_names_it(words, sentence):
    assert refusal(BREW, *words).startswith(sentence)


def test_other_keys_are_handed_on_each_once():
    assert ANY.parse(["--method", "repa", "own=1", "data.root=a=b", "runs="]) == {
        "own": "1",
        "overrides": ["method=repa", "data.root=a=b", "runs="],
    }
    assert refusal(ANY, "method=vanilla", "method=repa") == (
        "method= is given twice, vanilla and repa: leave one of them"
    )
    assert last_of_each(["a=1", "b=2", "a=3"]) == ["a=3", "b=2"]


def test_the_help_page_says_every_key_with_values_and_default(capsys):
    for words in (["--help"], ["green", "-h"], []):
        assert BREW.main(words) == 0
        page = capsys.readouterr().out
        assert page.startswith("usage: python -m bench.brew LEAF [KEY=VALUE ...]\n\nBrew a pot.\n")
        for line in (
            "  LEAF (green|black)  which leaf (required)",
            "  out=DIR             where the pot stands (default: kitchen)",
            "  recipe=FILE         what says how; default: by heart",
            "  milk=true|false     with milk (default: true)",
            "Extras:\n  with_=NAME,...      sweets (default: biscuit)",
            "  python -m bench.brew leaf=green              the usual",
        ):
            assert line in page
        assert max(map(len, page.splitlines())) <= 100


def test_the_body_is_called_with_the_arguments_and_gives_the_exit_code(monkeypatch):
    monkeypatch.setitem(sys.modules, "tests.unit.config.test_cli", sys.modules[__name__])
    assert BREW.main(["green"]) == 7
    assert brewed.pop() == BREW.parse(["green"])


def test_a_part_has_keys_of_its_own():
    whole = Command("brew", does="", body="x:y", parts={"green": BREW}, alone=True)
    with pytest.raises(ValueError, match="there is no key 'leef'"):
        whole.main(["green", "leef=1"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("x=1 is bad"), BAD_INPUT, "error: x=1 is bad\n"),
        (OSError("disk full"), FAILED, "error: disk full\n"),
        (OSError("a\x1b]0;b\x07\u202ec"), FAILED, "error: a\\x1b]0;b\\x07\\u202ec\n"),
        (KeyError("y"), FAILED, "error: KeyError: 'y' (--traceback shows where)\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_become_one_sentence_and_an_exit_code(error, code, said, capsys, monkeypatch):
    def fails(argv):
        raise error

    monkeypatch.delenv("BENCH_TRACEBACK", raising=False)
    assert guarded(fails, []) == code
    assert capsys.readouterr().err == said
    if isinstance(error, Exception):
        with pytest.raises(type(error)):
            guarded(fails, ["--traceback"])


def test_a_reader_that_goes_away_ends_nothing():
    code = "from bench.cli import guarded; guarded(lambda argv: print('x\\n' * 10**6) or 0, [])"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'{sys.executable} -c "{code}" | head -n 1'],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")


@pytest.mark.parametrize("problem", [errno.EPIPE, errno.EIO, errno.EBADF])
def test_a_terminal_that_is_gone_ends_nothing(monkeypatch, problem):
    class Gone(io.StringIO):
        encoding = "utf-8"

        def write(self, text):
            raise OSError(problem, "gone")

        def fileno(self):
            return unused

    unused = os.open(os.devnull, os.O_WRONLY)
    monkeypatch.setattr(sys, "stdout", Gone())
    assert guarded(lambda argv: print("x") or 0, []) == 0
    os.close(unused)


def test_no_stdout_at_all_ends_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert guarded(lambda argv: print("x") or 0, []) == 0


def test_letters_that_the_terminal_has_not_are_escapes(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert guarded(lambda argv: print("µ \udcff done") or 0, []) == 0
    assert written.getvalue() == rb"\xb5 \udcff done" + b"\n"


def test_output_that_a_full_disk_lost_is_a_failure(monkeypatch, capsys):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert guarded(lambda argv: print("x") or 0, []) == FAILED
    assert "the output was lost (No space left" in capsys.readouterr().err


def test_a_hang_up_is_noted_and_under_nohup_ignored():
    before = {name: signal.getsignal(getattr(signal, name)) for name in EXIT_OF_SIGNAL}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        flag = StopFlag().install()
        signal.raise_signal(signal.SIGHUP)
        assert flag.reason is None
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        flag = StopFlag().install()
        signal.raise_signal(signal.SIGHUP)
        assert flag.reason == "SIGHUP"
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@pytest.mark.parametrize("world", (1, 2))
def test_one_of_several_processes_ends_before_python_does(world):
    what = """
import atexit
from bench.cli import Command
atexit.register(print, "as Python ends")
Command("pour", does="Pour.", body="builtins:dict", alone=True).start()
"""
    result = subprocess.run(
        [sys.executable, "-c", what, "warm"],
        env=os.environ | {"WORLD_SIZE": str(world)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == BAD_INPUT
    assert "warm" in result.stderr
    assert ("as Python ends" in result.stdout) == (world == 1)
