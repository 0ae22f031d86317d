"""Record Kraken's public trades into plain Parquet: complete, exact and provable.

>>> import recorder
>>> archive = recorder.connect("data")               # doctest: +SKIP
>>> archive.candles("BTC/USD", "1m")                 # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recorder.version import __version__

__all__ = ["__version__", "connect"]

if TYPE_CHECKING:
    from recorder.query.connect import connect


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- what a module's names are is up to the module
    """Import the read side only when it is asked for: the daemon runs without pandas and DuckDB."""
    if name == "connect":
        from recorder.query.connect import connect  # noqa: PLC0415 -- see above

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
