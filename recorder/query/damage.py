"""Why DuckDB could not read a file of the archive, in our words: which file, and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

from recorder.archive.coverage import read_facts
from recorder.archive.versions import SCHEMA_VERSION
from recorder.errors import DiskError, RecorderError, StorageError


def blamed(error: Exception, data: Path) -> RecorderError | None:
    """Return what is wrong with the files of the archive at ``data`` that DuckDB's sentence names; None: nothing."""
    for name in dict.fromkeys(re.findall(rf"{re.escape(str(data))}/[^'\"]*?\.parquet", str(error))):
        try:
            footer = read_facts(Path(name)).footer
        except FileNotFoundError:  # compacted meanwhile
            continue
        except (StorageError, DiskError) as found:
            return found
        if footer.is_old:
            return StorageError(
                f"{name} is still of schema version {footer.version}, and SQL reads version {SCHEMA_VERSION}: let "
                "`recorder run` run for a while, which rewrites such files"
            )
    return None
