"""Files that no question may read, told to DuckDB in such a way that only a question which needs them fails.

Which files a statement needs is known to DuckDB alone, once it has planned it. So in place of such files it is given a
path that leads into their folder, by whose name it passes over them as it would over them, and out again to a file
without rows that is no Parquet: a question that needs them is an error which names this path. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from recorder.errors import DiskError, StorageError

Fault: TypeAlias = StorageError | DiskError
"""Why files must not be read, with their names and what to do."""
FAULTS: Final = (StorageError, DiskError)
_OUT: Final = "../" * 64 + "dev/null"
"""From any folder: above the root there is the root."""


def failing_path(folder: str) -> str:
    """Return what to list instead of the files in ``folder``, which is there."""
    return f"{folder}/{_OUT}"


def refused_file(error: Exception, refused: Mapping[str, Fault]) -> Fault | None:
    """Return why a question failed, if it did because it needs what is ``refused``, by path."""
    said = str(error)
    if _OUT not in said:
        return None
    return next((fault for path, fault in refused.items() if path in said), None)
