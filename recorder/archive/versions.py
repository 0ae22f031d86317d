"""Schema versions: which files this release can read, and how the rows of an older one become those of today.

Every footer tells the version of its file. A file of another version than those known here is refused, whoever meets
it: it is neither damaged nor to be moved, only not for this release. ``docs/format.md`` has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import pyarrow as pa

from recorder.errors import UnknownVersion
from recorder.version import __version__

SCHEMA_VERSION: Final = 1
"""What this release writes."""
WRITER: Final = f"kraken-recorder {__version__}"

Upgrade: TypeAlias = Callable[[pa.Table], pa.Table]
"""Takes some rows of a file with all their columns, and returns as many in the same order, of the next version."""
UPGRADES: Final[dict[int, Mapping[str, Upgrade]]] = {}
"""Of each older version that is read: by the name of the table, what makes its rows those of the next version. A table
that is not named is the same in both. There is none yet: version 1 is the first."""


def check(version: object, path: str, writer: object) -> int:
    """Return the version of a file, which ``writer`` wrote, if this release can read it. Raises UnknownVersion."""
    if not isinstance(version, int):
        raise TypeError(version)
    if version > SCHEMA_VERSION:
        remedy = f"upgrade the recorder to the release that wrote it ({writer}) or a later one"
    elif all(step in UPGRADES for step in range(version, SCHEMA_VERSION)):
        return version
    else:
        remedy = f"use the release that wrote it ({writer})"
    problem = f"has schema version {version}, and this release ({WRITER}) reads version {_read()}"
    raise UnknownVersion(path, problem, remedy)


def _read() -> str:
    """Return which versions are read.

    >>> _read()
    '1'
    """
    first = SCHEMA_VERSION
    while first - 1 in UPGRADES:
        first -= 1
    return str(SCHEMA_VERSION) if first == SCHEMA_VERSION else f"{first} to {SCHEMA_VERSION}"


def is_changed(table: str, version: int) -> bool:
    """Return whether rows of a table, of a file of that version, are other ones in today's."""
    return any(table in UPGRADES[step] for step in range(version, SCHEMA_VERSION))


def upgraded(rows: pa.Table, table: str, version: int) -> pa.Table:
    """Return rows of a table, all columns of a file of that version, as today's version has them."""
    for step in range(version, SCHEMA_VERSION):
        upgrade = UPGRADES[step].get(table)
        rows = rows if upgrade is None else upgrade(rows)
    return rows
