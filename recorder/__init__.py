"""Record Kraken's public trades into plain Parquet: complete, exact and provable.

>>> import recorder
>>> with recorder.connect("data") as archive:
...     archive.candles("BTC/USD", "1m")[["open", "high", "low", "close", "volume", "count"]]
    open   high    low  close  volume  count
0  101.0  102.0  100.0  100.0     3.0      3
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from recorder.version import __version__

__all__ = ["Account", "AliasWarning", "Archive", "__version__", "connect", "connect_account", "errors"]

if TYPE_CHECKING:
    from recorder import errors
    from recorder.query.account import Account, connect_account
    from recorder.query.connect import Archive, connect
    from recorder.query.pair_aliases import AliasWarning

_HOMES: Final = {
    "Account": "recorder.query.account",
    "AliasWarning": "recorder.query.pair_aliases",
    "connect_account": "recorder.query.account",
    "errors": "recorder.errors",
}
_HOME: Final = "recorder.query.connect"


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- what a module's names are is up to the module
    """Import the read side only when it is asked for: the daemon runs without pandas and DuckDB."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(_HOMES.get(name, _HOME))
    return home if name == "errors" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
