from __future__ import annotations

import inspect
import re

import pytest

from recorder import errors
from recorder.errors import CorruptLine, ExchangeError, RateLimited, RecorderError, Retry, TornTail, UnknownPair

TREE = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, RecorderError) and found.__module__ == errors.__name__
]


def drawn() -> dict[str, tuple[str | None, str]]:
    """Return of each error in the docstring's picture the one above it, and what its line says."""
    above: list[tuple[int, str]] = []
    found: dict[str, tuple[str | None, str]] = {}
    picture = (errors.__doc__ or "").split("::\n\n")[1].split("\n\n")[0]
    for line in picture.splitlines():
        match = re.search(r"[A-Z]\w+", line)
        assert match is not None, line
        while above and above[-1][0] >= match.start():
            above.pop()
        found[match[0]] = (above[-1][1] if above else None, line[match.end() :])
        above.append((match.start(), match[0]))
    return found


def test_the_picture_shows_every_error_below_its_parent() -> None:
    assert {name: parent for name, (parent, _) in drawn().items()} == {
        found.__name__: None if found is RecorderError else found.__mro__[1].__name__ for found in TREE
    }


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_the_picture_says_the_exit_code_and_the_retry_of_each(kind: type[RecorderError]) -> None:
    _, line = drawn()[kind.__name__]
    code = re.match(r" +(\d)\b", line)
    if code:
        assert int(code[1]) == kind.exit_code
    retry = re.search(r"retry ([A-Z_]+)", line)
    if issubclass(kind, ExchangeError) and kind is not ExchangeError:
        assert retry is not None
        assert kind.retry is Retry[retry[1]]
    else:
        assert retry is None


def test_exit_codes_are_the_documented_ones() -> None:
    assert {kind.exit_code for kind in TREE} == {1, 2, 3, 4}
    assert errors.ConfigError.exit_code == errors.NoSuchArchive.exit_code == 2
    assert errors.ArchiveInUse.exit_code == 3
    assert errors.DiskError.exit_code == 4
    assert errors.GapError.exit_code == 1


def test_errors_carry_what_is_needed_next() -> None:
    assert RateLimited("slow down", 12.5).retry_after_s == 12.5
    assert RateLimited("slow down").retry_after_s is None
    assert UnknownPair("what?", "BTC/USDD").pair == "BTC/USDD"
    assert CorruptLine("bad", b"line").line == b"line"
    torn = TornTail("a.jsonl", 100, 7)
    assert (torn.valid_bytes, torn.torn_bytes) == (100, 7)
    assert str(torn) == "a.jsonl: the last 7 bytes are a torn line; 100 bytes are whole"
