"""The truth: every trade the sandbox made, in a file, and the comparison of an archive with it.

Contains the file (JSON Lines, written before a trade can reach any client, so that nothing is ever received that is not
in the truth) and the verdict. Does not know the network and the archive's format: rows are model trades.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from recorder.core.model import Trade
from recorder.core.trade_ids import Span, Spans
from recorder.errors import DiskError, UsageError
from recorder.sandbox import wire_format
from recorder.sandbox.tape import ORD_TYPES, SIDES, NewTrades, Tape

EXAMPLES: Final = 10
"""The maximum number of messages in a verdict: enough to see a pattern, few enough to read."""


class TrueTrade(msgspec.Struct, frozen=True, gc=False):
    """One trade as it was made; price and quantity as canonical text, the time to the nanosecond."""

    pair: str
    trade_id: int
    price: str
    qty: str
    side: str
    ord_type: str
    time_ns: int


Truth = Mapping[str, Mapping[int, TrueTrade]]
"""Pair → trade id → trade."""


class TruthFile:
    """Writes the truth. Each :meth:`write` is passed to the operating system whole, so that others can read along."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._says("create"):
            self._file = path.open("w", encoding="ascii", newline="\n", buffering=1 << 20)

    def write(self, tapes: Mapping[str, Tape], runs: Iterable[NewTrades]) -> None:
        """Add the trades of ``runs``."""
        with self._says("write"):
            for made in runs:
                self._file.writelines(_lines(tapes[made.pair], made.span))
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with self._says("write"):
            self._file.close()

    @contextlib.contextmanager
    def _says(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(f"cannot {verb} the truth file {self._path}: {error.strerror or error}") from error


def _lines(tape: Tape, span: Span) -> Iterable[str]:
    head, price_digits, qty_digits = f'{{"pair":"{tape.pair.symbol}","trade_id":', tape.price_digits, tape.qty_digits
    for trade_id, time_ns, price, qty, mark in tape.rows(span):
        yield (
            f'{head}{trade_id},"price":"{wire_format.canonical(price, price_digits)}",'
            f'"qty":"{wire_format.canonical(qty, qty_digits)}","side":"{SIDES[mark]}","ord_type":"{ORD_TYPES[mark]}",'
            f'"time_ns":{time_ns}}}\n'
        )


def read_truth(path: Path) -> Truth:
    """Return the contents of a truth file, finished or still being written: an unfinished last line is left out."""
    truth: dict[str, dict[int, TrueTrade]] = {}
    decode = msgspec.json.Decoder(TrueTrade).decode
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                trade = decode(line)
                truth.setdefault(trade.pair, {})[trade.trade_id] = trade
    return truth


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a comparison: ids lost, extra rows, rows that differ from the truth (or never were made)."""

    rows: int
    lost: int
    duplicated: int
    altered: int
    examples: tuple[str, ...]

    @property
    def perfect(self) -> bool:
        """Whether something was compared and no fault was found."""
        return self.rows > 0 and not (self.lost or self.duplicated or self.altered)

    def __str__(self) -> str:
        found = f"{self.rows} rows: {self.lost} lost, {self.duplicated} duplicated, {self.altered} altered"
        return "; ".join((found, *self.examples))


def compare(
    archived: Iterable[Trade],
    truth: Truth,
    *,
    first_ids: Mapping[str, int] | None = None,
    last_ids: Mapping[str, int] | None = None,
    pairs: Iterable[str] = (),
) -> Verdict:
    """Compare the rows of an archive, in any order, with the truth.

    For each pair, every id that was made is expected from its entry in ``first_ids`` (without one: the first id
    archived) to its entry in ``last_ids`` (without one: the last id made). A pair with no row at all is expected only
    if ``first_ids`` or ``pairs`` names it. Every row, also outside that range, must be what was made.
    """
    first_ids, last_ids = first_ids or {}, last_ids or {}
    notes = _Notes()
    seen: dict[str, set[int]] = {pair: set() for pair in (*pairs, *first_ids)}
    rows = duplicated = altered = lost = 0
    for row in archived:
        rows += 1
        ids = seen.setdefault(row.pair, set())
        if row.trade_id in ids:
            duplicated += 1
            notes.add(f"{row.pair} {row.trade_id} is there twice")
        ids.add(row.trade_id)
        wrong = _difference(row, truth.get(row.pair, {}).get(row.trade_id))
        if wrong is not None:
            altered += 1
            notes.add(f"{row.pair} {row.trade_id} {wrong}")
    for pair, ids in seen.items():
        for hole in _holes(pair, ids, truth=truth, first=first_ids.get(pair), last=last_ids.get(pair)):
            lost += len(hole)
            notes.add(f"{pair} {hole} is missing")
    return Verdict(rows=rows, lost=lost, duplicated=duplicated, altered=altered, examples=tuple(notes.sentences))


class _Notes:
    """The first few of any number of messages."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, sentence: str) -> None:
        if len(self.sentences) < EXAMPLES:
            self.sentences.append(sentence)


def _holes(pair: str, ids: set[int], *, truth: Truth, first: int | None, last: int | None) -> list[Span]:
    made = truth.get(pair)
    if not made:
        if ids:
            return []  # each of its rows has been reported altered already
        raise UsageError(f"the truth holds no trade of {pair}; it knows {', '.join(truth) or 'nothing at all'}")
    start = min(ids or made) if first is None else first
    stop = max(made) if last is None else last
    absent = Spans.of_ids(ids).missing(Span(start, stop)) if start <= stop else []
    expected = Spans.of_ids(made) if absent else Spans()
    return [part for span in absent for part in expected.within(span)]


def _difference(row: Trade, true: TrueTrade | None) -> str | None:
    """Return what is wrong with a row, as the end of a message, or None."""
    if true is None:
        return "was never made"
    pairs_of_values: tuple[tuple[str, object, object], ...] = (
        ("price", row.price, Decimal(true.price)),
        ("qty", row.qty, Decimal(true.qty)),
        ("side", row.side, true.side),
        ("ord_type", row.ord_type, true.ord_type),
        ("misc", row.misc, ""),
        ("time_us", row.time_us, expected_us(true.time_ns, source=row.source)),
    )
    wrong = [f"{name} {is_} instead of {be}" for name, is_, be in pairs_of_values if is_ != be]
    return f"has {', '.join(wrong)}" if wrong else None


def expected_us(time_ns: int, *, source: str) -> int:
    """Return the time that a row must have, by its source (API.md 7.3).

    WebSocket truncates the nanoseconds; REST prints a double, which can be on either side of the true time, and the
    printed value is floored to the microsecond.

    >>> expected_us(1763600009979157999, source="ws"), expected_us(1763600009979157999, source="rest")
    (1763600009979157, 1763600009979158)
    """
    if source == "ws":
        return time_ns // 1000
    return int(Decimal(wire_format.printed_double(time_ns)).scaleb(6))
