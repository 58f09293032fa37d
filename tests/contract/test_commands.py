"""Every command: its body takes its keys, its examples are words that it takes, and its help
page keeps to 100 columns.
"""

import dataclasses
import importlib
import inspect
import shlex

import pytest
from support.house import COMMANDS as NAMES

from bench.cli import PAGE_WIDTH, Command


def commands():
    for name in NAMES:
        command = getattr(importlib.import_module(f"bench.{name}"), name.upper())
        yield command
        yield from command.parts.values()


COMMANDS = {command.name: command for command in commands()}


def located(target):
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_body_takes_exactly_the_keys(command: Command):
    wanted = {*command.kinds, *(["overrides"] if command.passes else [])}
    if command.request:
        assert {field.name for field in dataclasses.fields(located(command.request))} == wanted
        return
    parameters = inspect.signature(located(command.body)).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        assert set(parameters) == wanted


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_examples_are_words_that_the_command_takes(command: Command):
    assert command.examples
    for example in command.examples:
        words = shlex.split(example.partition(f" -m bench.{command.name} ")[2] or example)
        if words[:1] and words[0] in command.parts:
            command.parts[words[0]].parse(words[1:])
        else:
            command.parse(words)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_help_page_keeps_to_its_width(command: Command):
    lines = command.help_page().splitlines()
    calls = lines.index("Examples:")
    assert max(map(len, lines[:calls])) <= PAGE_WIDTH
