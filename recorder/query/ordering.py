"""In which order DuckDB is given the files of a table, so that it expects as many rows as there are.

It takes every file of a list to hold as many rows as the first one, and joins accordingly: after a file without rows it
would compare each row of one side with each of the other. Pure, but for the size of files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

_Item = TypeVar("_Item")
_FILES: Final = 65_536
"""Sizes that are kept, some 10 MB: a name is never used twice, so what was seen once stays true."""


def planned(groups: Iterable[Sequence[str]], size: Callable[[str], int], born: str) -> tuple[str, ...]:
    """Return all files, and last the empty one that the table was ``born`` with.

    The first is the one nearest to the mean ``size``, among those that are so in their group: who asks for one pair is
    given that pair's files in the same order.
    """
    led = []
    rows = files = 0
    for group in groups:
        if group:
            sizes = dict(zip(group, map(size, group), strict=True))
            within = sum(sizes.values())
            led.append(_typical_first(group, sizes.__getitem__, within / len(group)))
            rows += within
            files += len(group)
    if len(led) > 1:
        led = _typical_first(led, lambda group: size(group[0]), rows / files)
    return (*(path for group in led for path in group), born)


def _typical_first(items: Sequence[_Item], size: Callable[[_Item], int], mean: float) -> list[_Item]:
    """Return the items, and first the one whose size, which is above zero, is the fewest times the mean or its part."""
    best = min(range(len(items)), key=lambda at: max(size(items[at]) / mean, mean / size(items[at])))
    return [items[best], *items[:best], *items[best + 1 :]]


@functools.lru_cache(_FILES)
def named_rows(path: str) -> int:
    """Return how many ids the name of a file of trades spans: good enough for a guess, and it costs no look at it."""
    first, _, rest = path[path.rfind("/") + 1 :].partition("-")
    last = rest.partition("-")[0]
    return max(1, int(last) - int(first) + 1) if first.isdecimal() and last.isdecimal() else 1


@functools.lru_cache(_FILES)
def bytes_in(path: str) -> int:
    """Return the size of a file. Raises FileNotFoundError."""
    return max(1, Path(path).stat().st_size)
