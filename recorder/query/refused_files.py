"""Files that must not be read, listed for DuckDB in such a way that only queries that need them fail.

Only DuckDB knows which files a statement needs, once it has planned it. So such files are replaced by a path that leads
into their folder, which DuckDB skips by name as it would skip the files, and out again to an empty file that is not
Parquet: a query that needs them fails with an error that names this path. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from recorder.errors import DiskError, StorageError

Fault: TypeAlias = StorageError | DiskError
"""The reason why files must not be read, with their names and what to do."""
FAULTS: Final = (StorageError, DiskError)
_OUT: Final = "../" * 64 + "dev/null"
"""Leads out of any folder: the parent of the root is the root."""


def failing_path(folder: str) -> str:
    """Return the path to list instead of the files in ``folder``, which exists."""
    return f"{folder}/{_OUT}"


def refused_file(error: Exception, refused: Mapping[str, Fault]) -> Fault | None:
    """Return why a query failed, if it did because it needs a file of ``refused``, by path."""
    text = str(error)
    if _OUT not in text:
        return None
    return next((fault for path, fault in refused.items() if path in text), None)
