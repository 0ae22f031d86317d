"""Explanations of DuckDB's read failures: which file of the archive is at fault, and what to do about it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import duckdb

from recorder.archive import schema_versions
from recorder.archive.datasets import DATASETS
from recorder.archive.parquet import FileFacts, read_facts
from recorder.errors import CorruptFile, DiskError, RecorderError, StorageError
from recorder.object_store import located

FAULTS: Final = (duckdb.Error, RuntimeError)
"""Exceptions of DuckDB. Exactly these types are faults that it cannot classify, and whose message names no file."""
_TOLD: Final = (duckdb.InvalidInputException, duckdb.IOException)
"""The types of faults that DuckDB classifies, and also of some user mistakes."""
_OF_FILES: Final = re.compile("(?i)parquet|corrupt|decompress|zstd|decimal|bitpacked|converted type")
_A_FILE: Final = re.compile("(?i)file ['\"]|\\.parquet")
_OF_COLUMNS: Final = re.compile(
    r'column (?:named )?"(\w+)"|same number of result columns|Contents of view were altered'
)
"""DuckDB's messages where the first file is of an older version and lacks a column."""
_COLUMNS: Final = frozenset(name for table in DATASETS for name in table.columns.names)
_FOOTERS: Final = 20_000
"""The maximum number of footers read if no file is named: some 2 s."""
_PAGES: Final = 512 * 1024 * 1024
"""The maximum number of bytes read through in that case: some 5 s. `recorder verify` reads all."""


def explain_error(error: Exception, data: Path, requested: Iterable[str] = ()) -> RecorderError | None:
    """Return what is wrong with the files of the archive at ``data`` that DuckDB's message names; None if nothing is.

    If the message names none but indicates damage, the files ``requested`` are checked, as far as that is quick.
    """
    named = dict.fromkeys(re.findall(rf"{re.escape(str(data))}/[^'\"]*?\.parquet", str(error)))
    if named or not _sounds_like_damage(error):
        return next(_faults([located(name) for name in named], data), None)
    paths = [located(name) for name, _ in zip(dict.fromkeys(requested), range(_FOOTERS), strict=False)]
    return next(_faults(paths, data, pages=_PAGES), None)


def _sounds_like_damage(error: Exception) -> bool:
    if type(error) in FAULTS:
        return True
    if isinstance(error, duckdb.BinderException) and (lacking := _OF_COLUMNS.search(str(error))):
        return lacking[1] is None or lacking[1] in _COLUMNS
    return isinstance(error, _TOLD) and _OF_FILES.search(str(error)) is not None and not _A_FILE.search(str(error))


def _faults(paths: Iterable[Path], data: Path, *, pages: int | None = None) -> Iterator[RecorderError]:
    """Yield what is wrong with these files: first by their own metadata, then by their pages.

    At most ``pages`` bytes of pages are read, smallest files first, or all.
    """
    # It takes 15 ms to load, and is needed only here.
    from recorder.archive import verify_tables  # noqa: PLC0415

    whole: list[FileFacts] = []
    for path in paths:
        try:
            facts = read_facts(path)
        except FileNotFoundError:  # compacted meanwhile
            continue
        except (StorageError, DiskError) as found:
            yield found
            continue
        if facts.footer.is_old:
            yield StorageError(
                f"{path} is still of schema version {facts.footer.version}, and SQL reads version "
                f"{schema_versions.current(facts.footer.table)}: "
                "let `recorder run` run for a while, which rewrites such files"
            )
        else:
            whole.append(facts)
    for facts in sorted(whole, key=_size):
        if pages is not None:
            pages -= facts.size
            if pages < 0:
                return
        with contextlib.suppress(FileNotFoundError):
            if (finding := verify_tables.wrong(data, facts.path)) is not None:
                yield CorruptFile(f"{finding.file} {finding.problem}: {finding.remedy}")


def _size(facts: FileFacts) -> int:
    return facts.size
