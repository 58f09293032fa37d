"""A command of the benchmark: its KEY=VALUE words, its help page, mistakes as one sentence, exit
codes, signals.

    LATENTS = Command(
        "latents",
        does="Encode class folders of pictures with Stable Diffusion's VAE.",
        body="bench.commands.latents:encode",
        keys={"pictures": Folder("of classes", required=True), "size": Whole("side", default=256)},
        examples={"pictures=ILSVRC2012 size=256": "ImageNet"},
    )

    if __name__ == "__main__":
        LATENTS.start()

`body` names a function, which is called with one argument a key and returns the exit code (None
is 0); where `request` names a dataclass, that is made of the arguments and given to the body. Their
modules are imported once the words are known to be right, so a help page costs nothing.

Exit codes: 0 done, 1 failed, 2 bad input, 75 saved after USR2 and to be started again, 129, 130 and
143 saved after SIGHUP (a terminal that was closed), Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shlex
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from bench.config.keys import Flag, Key
from bench.config.schema import nearest
from bench.config.words import split_word
from bench.core.store.untrusted import printable

FAILED, BAD_INPUT, REQUEUE = 1, 2, 75
EXIT_OF_SIGNAL = {"SIGHUP": 129, "SIGINT": 130, "SIGTERM": 143, "SIGUSR2": REQUEUE}
# A pipe without a reader, a terminal that hung up, a descriptor that was closed.
_NO_READER = (errno.EPIPE, errno.EIO, errno.EBADF)
PAGE_WIDTH = 100  # characters of a help page
MOST_LEFT = 26  # of them for a key and its values
HELP_WORDS = {"--help", "-h"}
COMMON = {
    "--help": "this page; --KEY VALUE says the same as KEY=VALUE",
    "--traceback": "show where an error came from",
}


Lists = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Command:
    """`python -m bench.<name>`. Keys may stand in sections: {title: {name: Key}}.

    first: the key that a word without "=" is for; second: that of another such word. passes: how
    other keys begin that the body gets as well, in `overrides`, a list of KEY=VALUE ("" is any
    key). meant: of a word without "=", the words that it may stand for. notes: {title: {name:
    meaning}} of the help page, or what makes it. alone: without words it does something, and shows
    no help. parts: what a first word may name instead, with keys of its own.
    """

    name: str = field(kw_only=False)
    does: str
    body: str
    request: str = ""
    keys: Mapping[str, Key | Mapping[str, Key]] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)
    first: str = ""
    second: str = ""
    passes: tuple[str, ...] = ()
    meant: Callable[[str], Sequence[str]] | None = None
    notes: Lists | Callable[[], Lists] = field(default_factory=dict)
    alone: bool = False
    parts: Mapping[str, Command] = field(default_factory=dict)

    def start(self) -> None:
        """Run it with the words of this process, and exit."""
        code = guarded(self.main, sys.argv[1:])
        if os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1"):
            # not as Python ends, which kills a process where a thread of its process group still
            # holds a tensor (pytorch issue 190489); sharded, nothing ends these threads before
            for stream in filter(None, (sys.stdout, sys.stderr)):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)
        sys.exit(code)

    def main(self, argv: Sequence[str]) -> int:
        """Run it; returns the exit code. Raises ValueError for bad input."""
        if argv and argv[0] in self.parts:
            return self.parts[argv[0]].main(argv[1:])
        if HELP_WORDS & set(argv) or not (argv or self.alone):
            print(self.help_page())
            return 0
        arguments = self.parse(argv)
        body = _located(self.body)
        code = body(_located(self.request)(**arguments)) if self.request else body(**arguments)
        return code if isinstance(code, int) else 0

    # The words ------------------------------------------------------------------------------------

    @property
    def kinds(self) -> dict[str, Key]:
        """{name: kind} of all keys, sections taken apart."""
        flat: dict[str, Key] = {}
        for name, kind in self.keys.items():
            flat |= {name: kind} if isinstance(kind, Key) else kind
        return flat

    def parse(self, argv: Sequence[str]) -> dict[str, object]:
        """The body's arguments. Raises ValueError, one sentence, for words that it does not take.

        The same key twice is a mistake, also where it is handed on.
        """
        kinds, texts = self.kinds, dict[str, str]()
        for key, text in self._pairs(list(argv)):
            if key in texts:
                raise ValueError(
                    f"{key}= is given twice, {texts[key]} and {text}: leave one of them"
                )
            if key not in kinds and not key.startswith(self.passes or ("\0",)):
                raise ValueError(
                    f"{key}={text}: there is no key '{key}'"
                    f"{nearest(key, kinds) if self.passes else self._meant(key)} (see --help)"
                )
            if key in kinds and not text:
                raise ValueError(
                    f"{key}= says nothing: write {key}={kinds[key].written()}, or leave it out"
                )
            texts[key] = text
        values = {name: kind.default for name, kind in kinds.items()}
        values |= {key: kinds[key].read(key, text) for key, text in texts.items() if key in kinds}
        if missing := [key for key, kind in kinds.items() if kind.required and key not in texts]:
            needed = ", ".join(self._spelled(key, kinds[key].values()) for key in missing)
            raise ValueError(f"{needed} missing (see --help)")
        if self.passes:
            values["overrides"] = [
                f"{key}={text}" for key, text in texts.items() if key not in kinds
            ]
        return values

    def _pairs(self, words: list[str]) -> Iterator[tuple[str, str]]:
        """(key, value) of every word: KEY=VALUE, --KEY=VALUE, --KEY VALUE, --FLAG, --no-FLAG."""
        kinds, first, second = self.kinds, self.first, self.second
        while words:
            word = words.pop(0)
            if word.startswith("--") and "=" in word:
                key, text = split_word(word[2:])
                yield key.replace("-", "_"), text
            elif word.startswith("--"):
                key = word[2:].replace("-", "_")
                positive = key.removeprefix("no_")
                if isinstance(kinds.get(positive), Flag) and words[:1] not in (["true"], ["false"]):
                    yield positive, "true" if key == positive else "false"
                elif words and not words[0].startswith("--"):
                    yield key, words.pop(0)
                else:
                    value = kinds[key].written() if key in kinds else "VALUE"
                    raise ValueError(
                        f"{word} is followed by no value: write {key}={value} (see --help)"
                    )
            elif first and "=" not in word:
                yield first, word
                first, second = second, ""
            elif "=" not in word:
                raise ValueError(f"'{word}' is not KEY=VALUE{self._meant(word)} (see --help)")
            else:
                yield split_word(word)

    def _meant(self, word: str) -> str:
        """What chooses the word; or the nearest keys; or all, or, where there are too many, how a
        key is written.
        """
        named = {key: kind for key, kind in self.kinds.items() if key != self.first}
        words = [f"{key}={word}" for key, kind in named.items() if kind.has(word)]
        if words := [*words, *(self.meant(word) if self.meant else ())]:
            return f"; did you mean {' or '.join(words)}?"
        if self.passes:
            return nearest(word, self.kinds) or f": write {word}=VALUE"
        return nearest(word, self.kinds) or f"; the keys are {', '.join(self.kinds)}"

    def _spelled(self, key: str, value: str) -> str:
        plain = key in (self.first, self.second)
        return f"{key.upper()} ({value})" if plain else f"{key}={value}"

    # The help page --------------------------------------------------------------------------------

    def help_page(self) -> str:
        """Usage, what it does, every key with its values, default and meaning, and examples."""
        # what it is
        blocks = [self._usage(), *map(_wrapped, self.does.split("\n\n"))]
        # what there is to choose from, and the keys, by section
        tables = dict(self.notes() if callable(self.notes) else self.notes)
        plain = {name: kind for name, kind in self.keys.items() if isinstance(kind, Key)}
        sections = {name: kinds for name, kinds in self.keys.items() if not isinstance(kinds, Key)}
        for title, kinds in {"Keys": plain, **sections}.items():
            rows = {
                self._spelled(name, kind.written()): kind.line() for name, kind in kinds.items()
            }
            tables |= {title: rows} if rows else {}
        width = max(len(left) for rows in [COMMON, *tables.values()] for left in rows)
        width = min(width, MOST_LEFT)
        blocks += [f"{title}:\n{_table(rows, width)}" for title, rows in tables.items()]
        # what every command has
        blocks.append(_table(COMMON, width))
        blocks.append("Examples:\n" + self._examples())
        return "\n\n".join(blocks)

    def _usage(self) -> str:
        """The call, with the keys that it cannot do without."""
        plain = [name for name in (self.first, self.second) if name]
        words = [one.upper() if self.kinds[one].required else f"[{one.upper()}]" for one in plain]
        words += [
            f"{name}={kind.written()}"
            for name, kind in self.kinds.items()
            if kind.required and name not in (self.first, self.second)
        ]
        call = f"usage: python -m bench.{self.name}"
        return _wrapped(" ".join([call, *words, "[KEY=VALUE ...]"]), "       ")

    def _examples(self) -> str:
        """One line each; its comment behind it, or below it where there is no room."""
        calls = {
            words
            if " -m bench." in words
            else f"python -m bench.{self.name} {words}".rstrip(): said
            for words, said in self.examples.items()
        }
        width = max(len(call) for call in calls)
        if all(len(said) + width + 5 <= PAGE_WIDTH for said in calls.values()):
            return "\n".join(f"  {call:{width}}   {said}".rstrip() for call, said in calls.items())
        below = {
            call: f"\n{_wrapped(said, ' ' * 6, ' ' * 6)}" for call, said in calls.items() if said
        }
        return "\n".join(f"  {call}{below.get(call, '')}" for call in calls)


def _located(target: str) -> Callable[..., object]:
    """What "package.module:name" names, imported now."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _wrapped(text: str, indent: str = "", begin: str = "") -> str:
    return textwrap.fill(
        text,
        PAGE_WIDTH,
        initial_indent=begin,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(rows: Mapping[str, str], width: int) -> str:
    """Two columns; the second begins on a line of its own where the first is wider than `width`."""
    lines = []
    for left, right in rows.items():
        indent = " " * (width + 4)
        text = _wrapped(right, indent, indent)
        lines.append(
            f"  {left:{width}}  {text.lstrip()}" if len(left) <= width else f"  {left}\n{text}"
        )
    return "\n".join(lines)


# What surrounds a command -------------------------------------------------------------------------


def guarded(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run a command; expected errors become one sentence and an exit code,
    tracebacks only on --traceback.
    """
    traceback = "--traceback" in argv or os.environ.get("BENCH_TRACEBACK") == "1"
    argv = [word for word in argv if word != "--traceback"]
    with ignoring_closed_pipes() as output:
        try:
            code = main(argv)
            output.flush()
            if output.lost:
                print(f"error: the output was lost ({output.lost.strerror})", file=sys.stderr)
                return code or FAILED
            return code
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return EXIT_OF_SIGNAL["SIGINT"]
        except Exception as error:
            if traceback:
                raise
            known = isinstance(error, ValueError | OSError)
            if isinstance(error, ModuleNotFoundError):
                print(f"error: {printable(_without_package(error, argv))}", file=sys.stderr)
                return FAILED
            what = f"{type(error).__name__}: {error} (--traceback shows where)"
            # files' names are other people's: one must not move this terminal
            print(f"error: {printable(str(error) if known else what)}", file=sys.stderr)
            return BAD_INPUT if isinstance(error, ValueError) else FAILED


def _without_package(error: ModuleNotFoundError, argv: Sequence[str]) -> str:
    """Which Python has no such package, and what to type instead."""
    root = Path(__file__).parents[1]
    environment = root / ".venv"
    again = ["-m", f"bench.{Path(sys.argv[0]).stem}", *argv]
    if Path(sys.prefix) == environment:
        remedy = shlex.join([sys.executable, "-m", "pip", "install", "-e", str(root)])
    else:
        remedy = shlex.join([str(environment / "bin" / "python"), *again])
        if not environment.exists():
            remedy = f"make -C {shlex.quote(str(root))} .venv/bin/.installed && {remedy}"
    return (
        f"this Python, {sys.executable} ({sys.version.split()[0]}), has no package "
        f"{error.name or error}: type {remedy}"
    )


class StopFlag:
    """Signals set a flag that training reads between steps; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def install(self) -> StopFlag:
        """Catch SIGHUP, SIGINT, SIGTERM and SIGUSR2 from now on; under nohup SIGHUP stays
        ignored.
        """
        for name in EXIT_OF_SIGNAL:
            number = getattr(signal, name)
            if signal.getsignal(number) != signal.SIG_IGN or name != "SIGHUP":
                signal.signal(number, self._set)
        return self

    def _set(self, number: int, frame: object) -> None:
        name = signal.Signals(number).name
        if self.reason == name == "SIGINT":
            raise KeyboardInterrupt
        self.reason = name
        print(f"\n{name}: saving after this step ...", file=sys.stderr, flush=True)


class _Stream:
    """A stream that goes on without its reader: what nobody reads any more (`| head`, a dead `tee`,
    a terminal that hung up, `>&-`) is dropped. Letters that it has not are written as escapes.

    lost: why more than a reader is gone, as a disk that is full.
    """

    def __init__(self, stream: TextIO | None):
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        encoding = self._stream.encoding or "utf-8"
        shown = text.encode(encoding, "backslashreplace").decode(encoding)
        self._unless_closed(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        self._unless_closed(self._stream.flush)

    def _unless_closed(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            if error.errno not in _NO_READER:
                self.lost = self.lost or error
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextlib.contextmanager
def ignoring_closed_pipes() -> Iterator[_Stream]:
    """Within it a closed pipe at the other end ends nothing: hours of training do not hang on a
    terminal. Yields what is written to.
    """
    before = sys.stdout, sys.stderr
    output, errors = _Stream(sys.stdout), _Stream(sys.stderr)
    sys.stdout, sys.stderr = output, errors  # type: ignore[assignment]
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before
