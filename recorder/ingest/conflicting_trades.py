"""Conflicting trades: rows received under a stored id with other content, reported and set aside, as only one fits.

A single one is an error of the exchange. Two in a row mean that the exchange renumbers the pair: from there on all rows
of the pair are set aside, in order, since they are the only copy of its new trades. Rows of quarantined pairs are set
aside as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from recorder.archive.event_rows import iso
from recorder.archive.quarantine import QuarantinedRow, Reason
from recorder.core.model import Trade, plain
from recorder.core.plausibility import is_same
from recorder.core.trade_ids import Spans
from recorder.errors import Malformed
from recorder.journal import segment
from recorder.journal.segment import Entry
from recorder.kraken import records

_WAITS: Final = "the files of the pair cannot be trusted: what came waits until they can"


class ConflictingTrades:
    """The rows of one drain that conflict with stored trades, each with the stored one.

    Also the rows of renumbered and quarantined pairs.
    """

    def __init__(self) -> None:
        self._stored: dict[str, dict[int, Trade]] = {}
        self._aside: dict[str, set[Trade] | None] = {}
        self._waiting: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._stored or self._aside or self._waiting)

    def add(self, repeated: Iterable[tuple[Trade, Trade]]) -> None:
        """Add rows received under stored ids, each with the stored trade."""
        for received, stored in repeated:
            if not is_same(received, stored):
                self._stored.setdefault(received.pair, {})[received.trade_id] = stored

    def is_aside(self, pair: str) -> bool:
        """Return whether rows of a pair are set aside by now."""
        return pair in self._aside

    def set_aside(self, pair: str, rows: Iterable[Trade] | None = None) -> None:
        """Set rows of a pair aside; without ``rows``, all its rows in this drain."""
        if rows is None:
            self._aside[pair] = None
        elif (aside := self._aside.setdefault(pair, set())) is not None:
            aside.update(rows)

    def wait(self, pair: str) -> None:
        """Set all rows of a quarantined pair aside, earlier ones of this drain included."""
        self._waiting.add(pair)

    def kept(self, entries: Iterable[Entry]) -> Iterator[QuarantinedRow]:
        """Yield the lines with such rows, once per pair."""
        for entry in entries:
            by_pair: dict[str, list[Trade]] = {}
            for row in self._rows(entry):
                by_pair.setdefault(row.pair, []).append(row)
            for pair, rows in by_pair.items():
                line = segment.encode(entry.recv_ns, entry.source, entry.payload).rstrip(b"\n")
                if pair in self._waiting:
                    spans = tuple(Spans.of_ids(row.trade_id for row in rows))
                    yield QuarantinedRow(entry.recv_ns, Reason.WAITING, line, pair, spans, _WAITS)
                elif aside := [row for row in rows if self._is_aside(row)]:
                    spans = tuple(Spans.of_ids(row.trade_id for row in aside))
                    yield QuarantinedRow(
                        entry.recv_ns, Reason.RENUMBERED, line, pair, spans, "the pair has been renumbered"
                    )
                elif differing := [row for row in rows if self._differs(row)]:
                    spans = tuple(Spans.of_ids(row.trade_id for row in differing))
                    yield QuarantinedRow(
                        entry.recv_ns, Reason.DIFFERS, line, pair, spans, "these ids are stored with other content"
                    )

    def detail(self, kept: Sequence[QuarantinedRow]) -> dict[str, object]:
        """Return the event detail for conflicting lines of one pair: the first such row, and the number of ids.

        A row is described by its time, price, quantity, taker's side and source.
        """
        rows = (row for row in self._rows(segment.decode(kept[0].line)) if row.pair == kept[0].pair)
        received = min((row for row in rows if self._differs(row)), key=lambda row: row.trade_id)
        count = Spans(span for one in kept for span in one.spans).count()
        stored = self._stored[received.pair][received.trade_id]
        return {
            "trade_id": received.trade_id,
            "count": count,
            "held": _event_detail(stored),
            "came": _event_detail(received),
        }

    def _rows(self, entry: Entry) -> list[Trade]:
        try:
            return records.trades(entry)
        except Malformed:  # reported already
            return []

    def _is_aside(self, row: Trade) -> bool:
        aside = self._aside.get(row.pair, ())
        return aside is None or row in aside

    def _differs(self, row: Trade) -> bool:
        held = self._stored.get(row.pair, {}).get(row.trade_id)
        return held is not None and not is_same(row, held)


def _event_detail(row: Trade) -> dict[str, object]:
    price, qty = plain(row.price), plain(row.qty)
    return {"time": iso(row.time_us), "price": price, "qty": qty, "side": row.side, "source": row.source}
