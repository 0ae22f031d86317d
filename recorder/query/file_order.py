"""The order of a table's files in a list for DuckDB, chosen so that its row estimates are right.

DuckDB assumes that every file of a list has as many rows as the first one, and plans joins accordingly: after a file
without rows it would compare each row of one side with each of the other. Pure, except for the size of files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from recorder.object_store import located

_GROUPS: Final = 4_096
"""The number of groups whose order is remembered, of a few files each: several times the number of pairs that the
exchange has ever listed.
"""


class _Led(NamedTuple):
    """Files with the typical one first, its size, and the total size."""

    paths: list[str]
    typical: int
    whole: int


def planned(
    groups: Iterable[Sequence[str]], size: Callable[[str], int], schema_file: str, refused: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return all files, then the ``refused`` ones, and last the empty ``schema_file`` that the table was created with.

    The first is the typical file of its group whose size is nearest to the mean ``size``, which is above zero. A query
    for one pair is given that pair's files in the same order.
    """
    led = [_led(tuple(group), size) for group in groups if group]
    if led:
        best = _typical([group.typical for group in led], sum(g.whole for g in led) / sum(len(g.paths) for g in led))
        led.insert(0, led.pop(best))
    behind = tuple(refused)
    before = (schema_file,) if behind and not led else ()  # the very first file is always opened
    return (*before, *(path for group in led for path in group.paths), *behind, schema_file)


@functools.lru_cache(_GROUPS)
def _led(group: tuple[str, ...], size: Callable[[str], int]) -> _Led:
    sizes = [size(path) for path in group]
    best = _typical(sizes, sum(sizes) / len(sizes))
    return _Led([group[best], *group[:best], *group[best + 1 :]], sizes[best], sum(sizes))


def _typical(sizes: Sequence[int], mean: float) -> int:
    """Return the index of the size nearest to the mean, by their ratio."""
    return min(range(len(sizes)), key=lambda at: max(sizes[at] / mean, mean / sizes[at]))


def named_rows(path: str) -> int:
    """Return the number of ids that the name of a trade file spans: a good estimate without reading the file."""
    first, _, rest = path[path.rfind("/") + 1 :].partition("-")
    last = rest.partition("-")[0]
    return max(1, int(last) - int(first) + 1) if first.isdecimal() and last.isdecimal() else 1


def bytes_in(path: str) -> int:
    """Return the size of a file. Raise FileNotFoundError."""
    return max(1, located(path).stat().st_size)
