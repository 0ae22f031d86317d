"""Schema versions: which ones this release can read, and how rows of an older one are upgraded.

Every footer has the version of its file; each table has its own numbering. A file of an unknown version is refused by
every reader: it is neither damaged nor to be moved, only not for this release. ``docs/format.md`` has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import pyarrow as pa

from recorder.errors import UnknownVersion
from recorder.version import __version__

FIRST: Final = 1
SCHEMA_VERSIONS: Final[Mapping[str, int]] = {"trades": 2, "ohlc": 2, "events": 2, "instruments": 2}
"""The versions that this release writes, by table name; other tables are at FIRST. In version 2 the footers of trades
contain the promise of the pair, and those of the others the full names of segments: a release that does not know them
would lose the one in a compaction, and mistake one segment for another. Rows are those of version 1."""
WRITER: Final = f"kraken-recorder {__version__}"

Upgrade: TypeAlias = Callable[[pa.Table], pa.Table]
"""Converts rows of a file, with all columns, to as many rows of the next version, in the same order."""
UPGRADES: Final[dict[int, Mapping[str, Upgrade]]] = {1: {}}
"""The upgrades from each older version that can be read to the next one, by table name. The rows of a table that is not
listed are the same in both."""


def current(table: str) -> int:
    """Return the version of a table that this release writes."""
    return SCHEMA_VERSIONS.get(table, FIRST)


def check(version: object, table: str, path: str, writer: object) -> int:
    """Return the version of a file written by ``writer`` if this release can read it. Raises UnknownVersion."""
    if not isinstance(version, int):
        raise TypeError(version)
    if version > current(table):
        remedy = f"upgrade the recorder to the release that wrote it ({writer}) or a later one"
    elif all(step in UPGRADES for step in range(version, current(table))):
        return version
    else:
        remedy = f"use the release that wrote it ({writer})"
    problem = f"has schema version {version}, and this release ({WRITER}) reads version {_read(table)}"
    raise UnknownVersion(path, problem, remedy)


def _read(table: str) -> str:
    """Return the versions of a table that this release reads, as text.

    >>> _read("trades"), _read("events")
    ('1 to 2', '1')
    """
    first = last = current(table)
    while first - 1 in UPGRADES:
        first -= 1
    return str(last) if first == last else f"{first} to {last}"


def _upgrades(table: str, version: int) -> list[Upgrade]:
    steps = range(version, current(table))
    return [UPGRADES[step][table] for step in steps if table in UPGRADES[step]]


def is_old(table: str, version: int) -> bool:
    """Return whether the rows of a table were different in that version."""
    return bool(_upgrades(table, version))


def upgraded(rows: pa.Table, table: str, version: int) -> pa.Table:
    """Return rows of a table, with all columns of that version, upgraded to the current one."""
    for upgrade in _upgrades(table, version):
        rows = upgrade(rows)
    return rows
