"""The envelope that REST Trades and REST OHLC share: one list of rows, and a cursor."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from recorder.kraken import wire

NULL: Final = msgspec.Raw(b"null")
_NO_ROWS: Final = msgspec.Raw(b"[]")
_LIST = re.compile(rb"\[")
_ROWS = re.compile(rb"\[\s*\[")
EMPTY = re.compile(rb"\[\s*\]")


def rows_and_last(result: bytes, what: str) -> tuple[msgspec.Raw, str | None]:
    """Return the one list of rows in a result, whatever its name, and ``last`` as text, None if there is none.

    Other fields that Kraken may add are ignored: scalars, objects, and lists that are no rows, which are lists
    themselves. A null is an empty list if there is no other. Raises one of :data:`wire.UNREADABLE`.
    """
    content = wire.table_result(result)
    last = wire.any_json(content.pop("last", NULL))
    lists = [raw for raw in content.values() if _LIST.match(raw)]
    found = [raw for raw in lists if _ROWS.match(raw)] or [raw for raw in lists if EMPTY.match(raw)][:1] or lists
    if not found and NULL in content.values():
        found = [_NO_ROWS]
    if len(found) != 1:
        raise ValueError(f"it should hold one list of {what} beside `last`, not {len(found)}")
    return found[0], str(last) if isinstance(last, str | int) and not isinstance(last, bool) else None
