"""Record Kraken's public trades into plain Parquet: complete, exact and provable.

>>> import recorder
>>> with recorder.connect("data") as archive:
...     archive.candles("BTC/USD", "1m")[["open", "high", "low", "close", "volume", "count"]]
    open   high    low  close  volume  count
0  101.0  102.0  100.0  100.0     3.0      3
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
