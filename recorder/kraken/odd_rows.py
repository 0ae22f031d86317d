"""Rows that cannot be read, beside others of the same frame or answer that can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from recorder.core.model import Trade
from recorder.core.trade_ids import Span
from recorder.kraken import wire

REASON_LIMIT: Final = 300
"""Maximum characters of a reason, which may quote input of any size."""
Row = TypeVar("Row")
ReadPairAndId: TypeAlias = Callable[[msgspec.Raw], tuple[str | None, int | None]]
"""Returns what is known of a row that cannot be read: its pair and its id."""


class OddRow(msgspec.Struct, frozen=True):
    """A row that cannot be read, in a frame or answer whose other rows can: the bytes as received, and why.

    ``at`` is its index among all rows received. ``span`` are its possible ids of ``pair``: its own id, or those between
    its neighbours if it has none that can be read; None if nothing is known.
    """

    raw: bytes
    reason: str
    at: int
    pair: str | None = None
    span: Span | None = None


class SalvagedRows(NamedTuple):
    """The readable rows of a frame of trades in which some rows cannot be read."""

    trades: list[Trade]
    odd: tuple[OddRow, ...]


def one_by_one(
    rows: Sequence[msgspec.Raw],
    read: Callable[[msgspec.Raw], Row],
    known: ReadPairAndId,
) -> tuple[list[Row], tuple[OddRow, ...]]:
    """Read rows one by one; for each that cannot be read return why, and what is ``known``: pair and id."""
    good, odd = list[Row](), list[OddRow]()
    for at, raw in enumerate(rows):
        try:
            good.append(read(raw))
        except wire.UNREADABLE as error:
            pair, trade_id = known(raw)
            reason = describe(error) if trade_id is None else f"trade {trade_id}: {describe(error)}"
            span = None if trade_id is None else Span(trade_id, trade_id)
            odd.append(OddRow(bytes(raw), reason, at, pair, span))
    return good, tuple(odd)


def optional(decode: Callable[[msgspec.Raw], Row], raw: msgspec.Raw) -> Row | None:
    """Return what ``decode`` reads in a row; None if that cannot be read."""
    try:
        return decode(raw)
    except wire.UNREADABLE:
        return None


def describe(error: Exception) -> str:
    """Return the text of an error, shortened: it may quote input of any size."""
    return str(error)[:REASON_LIMIT]
