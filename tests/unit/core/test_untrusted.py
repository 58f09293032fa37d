"""JSON that nobody vouches for is read, or refused in one sentence; its texts are harmless."""

import json
import math

import pytest

from bench.core.store.untrusted import DEEPEST, parse_json, printable


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1" + "0" * 400, math.inf),
        ("-1" + "0" * 5000, -math.inf),  # Python's own refuses to read so many digits
        ("1e308", math.inf),
        ("-1e400", -math.inf),
        ("1e100", 1e100),
        (str(2**63), math.inf),
        (str(2**63 - 1), 2**63 - 1),
        ("0", 0),
        ("1e-320", 1e-320),
    ],
)
def test_numbers_that_no_run_has_are_infinite(text, value):
    assert parse_json(f'{{"a": [{text}]}}') == {"a": [value]}


@pytest.mark.parametrize("opened", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("depth", [DEEPEST + 1, 900, 200_000])
def test_what_is_nested_too_deep_is_one_sentence(opened, depth):
    closed = opened[::-1].translate(str.maketrans("[{", "]}", 'a":'))
    with pytest.raises(ValueError, match=r"damaged .*deep"):
        parse_json(opened * depth + "1" + closed * depth)


def test_half_of_a_nested_text_is_one_sentence_too():
    with pytest.raises(ValueError, match=r"damaged|Expecting"):
        parse_json("[" * 200_000)


def test_ordinary_content_is_read_as_it_is():
    content = {"a": [1, 2.5, None, True, "ü µ € 🙂\n\t"], "b": {"c": [[[]]]}}
    assert parse_json(json.dumps(content)) == content
    assert parse_json(json.dumps(content, ensure_ascii=False)) == content


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\rb\bc\x9b1m", r"a\rb\x08c\x9b1m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("lone \ud800 half", r"lone \ud800 half"),
        ("file\udcff", r"file\udcff"),
        ("plain\ttext\nof two lines, µ", "plain\ttext\nof two lines, µ"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(text, shown):
    assert printable(text) == shown
    assert parse_json(json.dumps({text: [text]})) == {shown: [shown]}
    assert parse_json(json.dumps([text]), as_written=True) == [text]
    printable(text).encode("utf-8")


@pytest.mark.parametrize("name", ["plain", "caf\u00e9", "\u202eturned", "a\x1b[31m", "\x9b2J"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_texts_are_printable_however_they_were_written(name, ascii_only):
    """Escaped in the file, or as the letters themselves."""
    written = json.dumps({name: [name, {"deep": name}]}, ensure_ascii=ascii_only)
    said = printable(name)
    assert parse_json(written) == {said: [said, {"deep": said}]}
