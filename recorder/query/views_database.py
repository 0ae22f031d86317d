"""A DuckDB database file with the views and macros over an archive, for tools that open files instead of running SQL.

The file contains no rows: every query reads the archive's files. It names the archive by its absolute path, because
DuckDB would take a relative one as relative to whatever folder a tool happens to run in.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import duckdb

from recorder.errors import UsageError
from recorder.query import catalogue
from recorder.version import __version__

STORAGE_VERSION: Final = "v1.0.0"
"""The oldest format that DuckDB still writes, so that the DuckDB inside other tools can open the file."""
_NAMES: Final = """
SELECT DISTINCT name
FROM (
    SELECT table_name AS name FROM duckdb_tables() WHERE NOT internal
    UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal
    UNION ALL SELECT function_name FROM duckdb_functions() WHERE NOT internal
)
ORDER BY name
"""
_MARK: Final = "recorder_views"
_SIGN: Final = "CREATE TABLE recorder_views AS SELECT $version AS version, $data AS data, $names::VARCHAR[] AS names"
"""Says what the file is, so that a later release may replace it, and which names are not the user's own."""
_SIGNED: Final = "SELECT unnest(names) FROM recorder_views"


def write(path: Path, data: Path) -> None:
    """Write the views over the archive at ``data``, an absolute path, to ``path``; replace only such a file.

    The file appears complete or not at all. Raise UsageError if ``path`` is anything else, or if something was added.
    """
    if path.exists() or path.is_symlink():
        _check_ours(path)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as aside:
        made = Path(aside) / path.name
        quoted = str(made).replace("'", "''")
        with duckdb.connect() as client:
            client.execute(f"ATTACH '{quoted}' AS made (STORAGE_VERSION '{STORAGE_VERSION}'); USE made;")
            client.execute(catalogue.stored(data))
            client.execute(_SIGN, {"version": __version__, "data": str(data), "names": _names(client, _NAMES)})
            client.execute("USE memory; DETACH made;")
        made.replace(path)


def _check_ours(path: Path) -> None:
    """Raise UsageError unless ``path`` is a file that :func:`write` wrote, and nothing was added to it."""
    try:
        with duckdb.connect(str(path), read_only=True) as client:
            names = _names(client, _NAMES)
            written = _names(client, _SIGNED) if _MARK in names else []
    except duckdb.Error as error:
        raise UsageError(
            f"{path} is not overwritten: it is no database of these views, or another program has it open"
        ) from error
    if _MARK not in names:
        raise UsageError(f"{path} is another database, and is not overwritten: choose another name")
    if added := [name for name in names if name not in {*written, _MARK}]:
        raise UsageError(f"{path} has something of your own, {added[0]}, and is not overwritten: choose another name")


def _names(client: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    return [str(name) for (name,) in client.execute(text).fetchall()]
