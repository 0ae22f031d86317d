"""What came under an id that is held with other content: told and set aside, since only one of the two can be stored.

A single one is a fault of the exchange. Many in a row mean that it numbers the pair anew, and that what is set aside is
all there is of its new trades.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from recorder.archive.events import iso
from recorder.archive.quarantine import Kept, Reason
from recorder.core.ids import Spans
from recorder.core.model import Trade, plain
from recorder.core.plausible import is_same
from recorder.errors import Malformed
from recorder.journal import segment
from recorder.journal.segment import Entry
from recorder.kraken import records


class Differing:
    """The rows of one drain whose ids are held with other content, each with what is held."""

    def __init__(self) -> None:
        self._held: dict[str, dict[int, Trade]] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, found: Iterable[tuple[Trade, Trade]]) -> None:
        """Take in rows that came, each with the one that is held."""
        for came, held in found:
            self._held.setdefault(came.pair, {})[came.trade_id] = held

    def kept(self, entries: Iterable[Entry]) -> Iterator[Kept]:
        """Yield the lines that brought such rows, once for each pair."""
        for entry in entries:
            by_pair: dict[str, list[Trade]] = {}
            for row in self._rows(entry):
                by_pair.setdefault(row.pair, []).append(row)
            for pair, rows in by_pair.items():
                line = segment.encode(entry.recv_ns, entry.source, entry.payload).rstrip(b"\n")
                spans = tuple(Spans.of_ids(row.trade_id for row in rows))
                yield Kept(entry.recv_ns, Reason.DIFFERS, line, pair, spans, "these ids are held with other content")

    def detail(self, kept: Sequence[Kept]) -> dict[str, object]:
        """Return what an event says of the lines of one pair that are kept: the first such row, and how many there are.

        Of a row: when it was made, its price and quantity, and the taker's side.
        """
        rows = (row for row in self._rows(segment.decode(kept[0].line)) if row.pair == kept[0].pair)
        came = min(rows, key=lambda row: row.trade_id)
        count = Spans(span for one in kept for span in one.spans).count()
        held = self._held[came.pair][came.trade_id]
        return {"trade_id": came.trade_id, "count": count, "held": _told(held), "came": _told(came)}

    def _rows(self, entry: Entry) -> list[Trade]:
        try:
            rows = records.trades(entry)
        except Malformed:  # told already
            return []
        held = ((row, self._held.get(row.pair, {}).get(row.trade_id)) for row in rows)
        return [row for row, stored in held if stored is not None and not is_same(row, stored)]


def _told(row: Trade) -> dict[str, object]:
    price, qty = plain(row.price), plain(row.qty)
    return {"time": iso(row.time_us), "price": price, "qty": qty, "side": row.side, "source": row.source}
