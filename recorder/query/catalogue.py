"""The SQL of this package: plain files under ``queries/``, one question each.

Owns: where they are found and the order in which they build on each other. Refuses: any SQL of its own.
"""

from __future__ import annotations

import glob
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

PLAIN: Final = (
    "macros/timeframe",
    "macros/pair_files",
    "macros/held_spans",
    "macros/pair_coverage",
    "macros/pair_trades",
    "macros/stored",
    "views/trades",
    "views/coverage",
    "views/instruments",
    "views/events",
    "macros/unheld_spans",
    "views/gaps",
    "views/certificates",
    "macros/candles",
    "views/ohlc",
    "views/ohlc_gaps",
    "views/ohlc_filled",
    "macros/candle_audit",
)
"""What any DuckDB client can run over an archive's folder, each after what it needs."""
PINNED: Final = (
    "macros/timeframe",
    "macros/held_spans",
    "pinned/trades",
    "pinned/coverage",
    "pinned/stored",
    "views/instruments",
    "views/events",
    "macros/unheld_spans",
    "views/gaps",
    "views/certificates",
    "macros/candles",
    "views/ohlc",
    "views/ohlc_gaps",
    "views/ohlc_filled",
    "macros/candle_audit",
)
"""The same views and macros over one moment of an archive, which recorder.connect() provides."""
DATA: Final = "recorder_data"
"""The DuckDB variable that names the archive's folder."""


def text(name: str) -> str:
    """Return the SQL file ``name``, given without ``.sql``, from an installed wheel or from the repository."""
    return _root().joinpath(*f"{name}.sql".split("/")).read_text(encoding="utf-8")


def script(data: Path) -> str:
    """Return one script that gives any DuckDB client the views and macros over the archive at ``data``."""
    return "\n".join([preamble(data), *(text(name) for name in PLAIN)])


def preamble(data: Path) -> str:
    """Return what every connection begins with: times are UTC, and the archive is at ``data``."""
    # The folder becomes part of globs, so what is special in them must stand for itself.
    folder = glob.escape(str(data)).replace("'", "''")
    return f"SET TimeZone='UTC';\nSET VARIABLE {DATA} = '{folder}';\n"


def _root() -> Traversable:
    package = resources.files("recorder")
    packaged = package / "_queries"
    # An editable install leaves the SQL where people read it, beside the package.
    return packaged if packaged.is_dir() else Path(str(package)).parent / "queries"
