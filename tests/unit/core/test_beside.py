"""Reading ahead and writing behind: beside the rest, in order, each error in its place."""

import gc
import threading

import pytest

from bench.core.store.beside import WriteBehind, read_ahead

LONG = 60.0  # seconds; waited for only where what is tested is not so


def ours():
    return [t for t in threading.enumerate() if t.name.startswith(("read_ahead", "write_behind"))]


def test_the_next_is_read_while_one_is_used_and_only_the_next():
    begun = [threading.Event() for _ in range(4)]

    def items():
        for number, event in enumerate(begun):
            event.set()
            yield number

    for number in read_ahead(items()):
        if number + 1 < len(begun):
            assert begun[number + 1].wait(LONG)
        assert not any(event.is_set() for event in begun[number + 2 :])
    assert number == 3 and not ours()


def test_what_fails_in_reading_is_raised_where_it_would_come():
    def items():
        yield "a"
        yield "b"
        raise ValueError("picture 3 is damaged")

    seen = []
    with pytest.raises(ValueError, match="picture 3"):
        for item in read_ahead(items()):
            seen.append(item)
    assert seen == ["a", "b"] and not ours()


def test_who_stops_reading_leaves_no_thread():
    def interrupted():
        for item in read_ahead(iter(range(1, 1000))):
            if item == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    gc.collect()
    assert not ours()
    assert list(read_ahead(iter(()))) == []


def test_writing_goes_on_beside_and_never_two_at_once():
    going, written = threading.Event(), []
    with WriteBehind() as behind:
        behind.give(lambda: written.append(going.wait(LONG)))
        assert not written  # given, and not waited for
        going.set()
        for number in range(3):
            behind.give(lambda number=number: written.append(number))
            assert written == [True, *range(len(written) - 1)] and len(written) > number
    assert written == [True, 0, 1, 2] and not ours()


def full():
    raise OSError("the disk is full")


def test_what_fails_in_writing_is_raised_at_the_next_or_at_the_end():
    reached = []
    with pytest.raises(OSError, match="full"), WriteBehind() as behind:
        behind.give(full)
        behind.give(lambda: reached.append("next"))
    with pytest.raises(OSError, match="full"), WriteBehind() as behind:
        behind.give(full)
        reached.append("end")
    assert reached == ["end"] and not ours()


@pytest.mark.parametrize("last", [None, full])
def test_what_was_given_is_done_whatever_it_is_left_for(last):
    written = []
    with pytest.raises(KeyboardInterrupt), WriteBehind() as behind:
        behind.give(lambda: written.append(0))
        if last:
            behind.give(last)
        raise KeyboardInterrupt
    assert written == [0] and not ours()
