"""Journal lines as records: the sources under which lines are written, and their only reader.

Code that reads the journal matches on all of :data:`Record`, so that a new kind of line cannot be forgotten anywhere. A
record is parsed when its content is requested, by the parser of live frames and answers: what was claimed on receipt is
what is archived. docs/format.md lists the sources with the same words; a test keeps the two equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Final, Protocol, TypeAlias, assert_never
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode

import msgspec

from recorder.core import event_kinds, evidence
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Knowledge
from recorder.core.model import (
    CURRENCY,
    SERVED_TIMEFRAMES,
    TIMEFRAMES,
    BookKind,
    BookRow,
    Candle,
    Event,
    SessionPart,
    TopOfBook,
    Trade,
    is_pair,
)
from recorder.core.pair_registry import Listed
from recorder.core.trade_ids import Run, runs_of
from recorder.errors import CorruptLine, ExchangeError, Malformed
from recorder.kraken import (
    asset_pairs,
    book_frames,
    book_lines,
    ohlc_answers,
    rest_api,
    ticker_frames,
    trade_frames,
    trade_pages,
    wire,
)
from recorder.kraken.book_lines import BookEnd, BookPlace
from recorder.kraken.odd_rows import OddRow
from recorder.kraken.ohlc_answers import CandleAnswer
from recorder.kraken.quote_session import SessionEnd

_TIMEFRAMES: Final = {str(TIMEFRAMES[name]): name for name in SERVED_TIMEFRAMES}
_ID: Final = re.compile(r"\d{1,19}", re.ASCII)
_HEADER_BEGINS: Final = f'{{"{event_kinds.NOTE}":"{event_kinds.HEADER}"'.encode()
_BLANK: Final = re.compile(r"[?<]")
_SHOWN: Final = 300
"""Maximum characters of a source, or of a reason, in a message."""
_SOURCES_KEPT: Final = 4_096
"""Sources whose reader is cached: connections are few, and requests for candles repeat."""


class Line(Protocol):
    """A journal line: when it was received (ns since 1970), its source, and its bytes."""

    @property
    def recv_ns(self) -> int:
        """When it was received, in ns since 1970."""
        ...

    @property
    def source(self) -> str:
        """The source."""
        ...

    @property
    def payload(self) -> bytes:
        """The bytes received."""
        ...


TradesAndOddRows: TypeAlias = tuple[list[Trade], Sequence[OddRow]]
"""The trades of a line, and its rows that cannot be read."""


class _OfLine(msgspec.Struct, frozen=True, gc=False):
    line: Line


class TradeRecord(_OfLine, frozen=True, gc=False):
    """A line with trades."""

    def first_pair(self) -> str | None:
        """Return the pair of the first trade, without parsing; None if that cannot be seen."""
        return trade_frames.first_pair(self.line.payload)

    def rows(self) -> TradesAndOddRows:
        """Return the trades, and the rows that cannot be read. Raises Malformed if none can."""
        raise NotImplementedError

    def trades(self) -> list[Trade]:
        """Return the trades. Raises Malformed if no row can be read."""
        return self.rows()[0]

    def runs(self) -> list[Run]:
        """Return the runs of ids. Raises Malformed as :meth:`trades` does."""
        return runs_of(self.trades())


class StreamedTrades(TradeRecord, frozen=True, gc=False):
    """A frame of trades. It was read on receipt, so that its numbers are known to fit the archive."""

    def rows(self) -> TradesAndOddRows:
        """Return the trades, and the rows that cannot be read. Raises Malformed if none can."""
        try:
            return trade_frames.parse_trades(self.line.payload, received_ns=self.line.recv_ns, checked=True), ()
        except Malformed:  # another release read it
            return trade_frames.salvage_trades(self.line.payload, received_ns=self.line.recv_ns)

    def runs(self) -> list[Run]:
        """Return the runs of ids, at two thirds of the cost of the trades. Raises Malformed as :meth:`trades` does."""
        try:
            return trade_frames.parse_runs(self.line.payload, checked=True)
        except Malformed:
            return runs_of(self.trades())


class SalvagedTrades(StreamedTrades, frozen=True, gc=False):
    """A frame of trades with some rows that could not be read on receipt. This release may be able to read them."""

    def rows(self) -> TradesAndOddRows:
        """Return the trades, and the rows that cannot be read. Raises Malformed if none can."""
        try:
            return trade_frames.parse_trades(self.line.payload, received_ns=self.line.recv_ns), ()
        except Malformed:
            return trade_frames.salvage_trades(self.line.payload, received_ns=self.line.recv_ns)

    def runs(self) -> list[Run]:
        """Return the runs of ids in the readable rows. Raises Malformed if there are none."""
        return runs_of(self.trades())


class ParkedTrades(TradeRecord, frozen=True, gc=False):
    """A frame with ids so far from all others that they do not count yet; its source has the first of them, by pair.

    The methods it shares with other frames of trades return the rows that count. Once the others do, the frame is
    journalled again.
    """

    def parked_from(self) -> dict[str, int]:
        """Return the first parked id, by pair. Raises Malformed."""
        query = parse_qsl(self.line.source.partition("?")[2])
        if not query or not all(_ID.fullmatch(first) for _, first in query):
            raise Malformed(f"a source that does not tell which ids are parked: {self.line.source[:_SHOWN]}")
        return {pair: int(first) for pair, first in query}

    def rows(self) -> TradesAndOddRows:
        """Return the trades that count, and the rows that cannot be read. Raises Malformed if none can."""
        rows, odd = self._read()
        return self._select(rows, parked=False), odd

    def parked(self) -> list[Trade]:
        """Return the trades that are parked. Raises Malformed."""
        return self._select(self._read()[0], parked=True)

    def released_source(self, still: Mapping[str, int]) -> str:
        """Return the source of the same frame when only these are parked ``still``; none: an ordinary frame."""
        connection = int(self.line.source.partition("?")[0].rpartition(":")[2])
        if still:
            return parked_source(connection, still)
        return stream_source("odd" if self._read()[1] else "trade", connection)

    def _read(self) -> TradesAndOddRows:
        return SalvagedTrades(self.line).rows()

    def _select(self, rows: Iterable[Trade], *, parked: bool) -> list[Trade]:
        since = self.parked_from()
        return [row for row in rows if (row.pair in since and row.trade_id >= since[row.pair]) == parked]


class PolledTrades(TradeRecord, frozen=True, gc=False):
    """An answer of Trades; the source names the pair."""

    def first_pair(self) -> str | None:
        """Return the pair of the trades; None if the source names none."""
        pair = _pair_name(self.line)
        return pair if is_pair(pair) else None

    def rows(self) -> TradesAndOddRows:
        """Return the trades, and the rows that cannot be read. Raises Malformed if none can."""
        page = trade_pages.parse_page(_result(self.line), _pair(self.line))
        return list(page.trades), page.odd


class OddTrades(PolledTrades, frozen=True, gc=False):
    """Rows of an answer of Trades that could not be read on receipt. This release may be able to read them."""

    def rows(self) -> TradesAndOddRows:
        """Return the rows that can be read by now, and the others. Raises Malformed if it contains no rows."""
        return trade_pages.decode_odd_rows(self.line.payload, _pair(self.line))


class PublishedCandles(_OfLine, frozen=True, gc=False):
    """An answer of OHLC; the source names the pair and the timeframe."""

    def candles(self) -> list[Candle]:
        """Return the committed candles, oldest first. Raises Malformed if no row can be read."""
        return self.answer().rows

    def answer(self) -> CandleAnswer:
        """Return the committed candles, and the rows that cannot be read. Raises Malformed if none can."""
        query = parse_qs(self.line.source.partition("#")[0].partition("?")[2])
        timeframe = _TIMEFRAMES.get(query.get("interval", [""])[0])
        if timeframe is None:
            raise Malformed(f"candles of an interval that there is not: {self.line.source[:_SHOWN]}")
        return ohlc_answers.parse_answer(_result(self.line), _pair(self.line), timeframe)


class ListingRecord(_OfLine, frozen=True, gc=False):
    """An answer of AssetPairs."""

    def listed(self) -> Listed:
        """Return the listed pairs of the requested asset class. Raises Malformed."""
        asset_class = parse_qs(self.line.source.partition("?")[2].partition("#")[0]).get("aclass_base", [CURRENCY])[0]
        return asset_pairs.parse_listing(_result(self.line), asset_class)

    def entries(self) -> Mapping[str, msgspec.Raw]:
        """Return the entries as received, by key. Raises Malformed."""
        return asset_pairs.raw_entries(_result(self.line))


Parts: TypeAlias = Mapping[str | None, Sequence[Any]]
"""Rows by their partition; by None if the table has no partitions."""


class TableRows(_OfLine, frozen=True, gc=False):
    """Rows of a table without ids that needs no rule: what was received is what is archived.

    Each such table has a class of its own, which names it and parses its rows into the form that the ``build`` of its
    entry expects.
    """

    table: ClassVar[str]

    def parts(self) -> Parts:
        """Return the rows. Raises Malformed."""
        raise NotImplementedError

    def tables(self) -> Mapping[str, Parts]:
        """Return the rows by table: those of ``table``, and of others that follow from them. Raises Malformed."""
        return {self.table: self.parts()}


class Note(TableRows, frozen=True, gc=False):
    """A note of the recorder itself that is an event."""

    table = "events"

    def parts(self) -> Parts:
        """Return the one event. Raises Malformed."""
        return {None: [self.event()]}

    def event(self) -> Event:
        """Return the event; its detail is every field except kind and pair. Raises Malformed."""
        try:
            detail = wire.note(self.line.payload)
        except wire.UNREADABLE as error:
            raise Malformed(f"a note that cannot be read: {error}"[:_SHOWN]) from error
        kind, pair = detail.pop(event_kinds.NOTE, None), detail.pop("pair", None)
        if not isinstance(kind, str) or not (pair is None or (isinstance(pair, str) and is_pair(pair))):
            raise Malformed(f"a note without a kind, or of a pair that is none: {self.line.payload[:80]!r}")
        try:
            return Event(self.line.recv_ns // 1000, kind, pair, msgspec.json.encode(detail).decode())
        except (*wire.UNREADABLE, OverflowError, TypeError) as error:  # numbers that no reader accepts
            raise Malformed(f"a note that cannot be written: {error}"[:_SHOWN]) from error


class StreamedQuotes(TableRows, frozen=True, gc=False):
    """A frame of the ticker; its source has the session of each pair, and the message number of its first row."""

    table = "quotes"

    def parts(self) -> Parts:
        """Return the quotes by pair. Raises Malformed."""
        by_pair: dict[str | None, list[TopOfBook]] = {}
        numbers = _numbers(self.line.source)
        for row in ticker_frames.quotes(self.line.payload, numbers, received_ns=self.line.recv_ns):
            by_pair.setdefault(row.pair, []).append(row)
        return by_pair

    def tables(self) -> Mapping[str, Parts]:
        """Return the quotes by pair, and what they are of their sessions. Raises Malformed."""
        quotes = self.parts()
        seen_us = self.line.recv_ns // 1000
        return {
            self.table: quotes,
            EndedQuotes.table: {None: [_part(rows, seen_us) for rows in quotes.values()]},
        }


class EndedQuotes(TableRows, frozen=True, gc=False):
    """The end of sessions of quotes, as the recorder notes it: pair, session, number of messages, and until when."""

    table = "quote_sessions"

    def parts(self) -> Parts:
        """Return what is known of the sessions. Raises Malformed."""
        seen_us = self.line.recv_ns // 1000
        try:
            ends = _read_ends(self.line.payload).ended
        except wire.UNREADABLE as error:
            raise Malformed(f"ends of sessions that cannot be read: {error}"[:_SHOWN]) from error
        return {
            None: [
                SessionPart(one.pair, one.session, None, one.messages - 1, 0, None, None, one.until_ns // 1000, seen_us)
                for one in ends
            ]
        }


class StreamedBook(TableRows, frozen=True, gc=False):
    """A frame of a book; its source has session, message, and what the message pushed out of the window."""

    table = "book"

    def parts(self) -> Parts:
        """Return the rows by pair. Raises Malformed."""
        return self.tables()[self.table]

    def tables(self) -> Mapping[str, Parts]:
        """Return the rows by pair, and what they are of their session. Raises Malformed."""
        at = book_lines.place(self.line.source)
        is_checkpoint = isinstance(self, BookCheckpoint)
        part = book_lines.part(at, received_us=self.line.recv_ns // 1000, is_checkpoint=is_checkpoint)
        return {self.table: {at.pair: self._rows(at)}, EndedBooks.table: {None: [part]}}

    def _rows(self, at: BookPlace) -> list[BookRow]:
        messages = book_frames.messages(self.line.payload)
        if len(messages) != 1:
            raise Malformed("a frame of a book with several rows, which were journalled as one")
        kind: BookKind = "snapshot" if messages[0].begins else "update"
        return book_lines.rows(messages[0], at, kind, received_us=self.line.recv_ns // 1000)


class BookCheckpoint(StreamedBook, frozen=True, gc=False):
    """A whole book, as the recorder wrote it down from the messages before; its source is like that of a frame."""

    def _rows(self, at: BookPlace) -> list[BookRow]:
        message = book_frames.stored_message(self.line.payload)
        return book_lines.rows(message, at, "checkpoint", received_us=self.line.recv_ns // 1000)


class EndedBooks(TableRows, frozen=True, gc=False):
    """The end of sessions of books, as the recorder notes it: number of messages, until when, and why."""

    table = "book_sessions"

    def parts(self) -> Parts:
        """Return what is known of the sessions. Raises Malformed."""
        return {None: [book_lines.ended_part(one, seen_us=self.line.recv_ns // 1000) for one in self.ends()]}

    def ends(self) -> list[BookEnd]:
        """Return the ends. Raises Malformed."""
        try:
            return _read_book_ends(self.line.payload).ended
        except wire.UNREADABLE as error:
            raise Malformed(f"ends of sessions that cannot be read: {error}"[:_SHOWN]) from error

    def tables(self) -> Mapping[str, Parts]:
        """Return what is known of the sessions, and an event for each that a checksum ended. Raises Malformed."""
        lost = [self._event(one) for one in self.ends() if one.reason in {"mismatch", "unreadable"}]
        return {self.table: self.parts(), **({Note.table: {None: lost}} if lost else {})}

    def _event(self, end: BookEnd) -> Event:
        detail = {"session": end.session, "message": end.messages - 1, "reason": end.reason}
        return Event(self.line.recv_ns // 1000, EventKind.BOOK_LOST, end.pair, msgspec.json.encode(detail).decode())


class _BookEnds(msgspec.Struct):
    ended: list[BookEnd]


_read_book_ends: Final = msgspec.json.Decoder(_BookEnds).decode


class _Ends(msgspec.Struct):
    ended: list[SessionEnd]


_read_ends: Final = msgspec.json.Decoder(_Ends).decode


def _part(rows: Sequence[TopOfBook], seen_us: int) -> SessionPart:
    """Return the part that the rows of one pair in one frame are of their session."""
    first, last = rows[0], rows[-1]
    return SessionPart(
        first.pair, first.session, first.message, last.message, len(rows), seen_us, seen_us, None, seen_us
    )


def _numbers(source: str) -> dict[str, tuple[int, int]]:
    """Return the session and the first message number of each pair. Raises Malformed."""
    found: dict[str, tuple[int, int]] = {}
    for part in source.partition("?")[2].split("&"):
        pair, _, numbering = part.partition("=")
        session, point, message = numbering.partition(".")
        if not (point and _ID.fullmatch(session) and _ID.fullmatch(message)):
            raise Malformed(f"a source that does not tell session and message: {source[:_SHOWN]}")
        found[unquote(pair)] = int(session), int(message)
    return found


class Header(_OfLine, frozen=True, gc=False):
    """The note at the start of a segment."""


class NotedFrame(_OfLine, frozen=True, gc=False):
    """A frame of no further use: its content was noted on receipt, and is an event."""


class UnreadableRecord(_OfLine, frozen=True, gc=False):
    """A frame or an answer that could not be read on receipt, and was stored for manual inspection."""


class UnknownRecord(_OfLine, frozen=True, gc=False):
    """A line of a source that this release does not know."""


Record: TypeAlias = (
    TradeRecord | PublishedCandles | ListingRecord | TableRows | Header | NotedFrame | UnreadableRecord | UnknownRecord
)


@dataclass(frozen=True, slots=True)
class RecordSource:
    """The source of lines: its ``form``, with placeholders, and the meaning of such a line."""

    form: str
    meaning: str
    read: Callable[[Line], Record] = field(repr=False)

    def names(self, source: str) -> bool:
        """Return whether ``source`` has this form, by all before the first placeholder."""
        known, *blanks = _BLANK.split(self.form, maxsplit=1)
        return source.startswith(known) if blanks else source == known


def _note(line: Line) -> Record:
    return Header(line) if line.payload.startswith(_HEADER_BEGINS) else Note(line)


SOURCES: Final = (
    RecordSource(
        "ws:trade:<connection>",
        "a frame of trades: live, or the newest ones that a subscription begins with",
        StreamedTrades,
    ),
    RecordSource(
        "ws:parked:<connection>?<pair>=<id>",
        "a frame of trades of which those from that id on do not count yet; `&` parts several pairs",
        ParkedTrades,
    ),
    RecordSource("ws:odd:<connection>", "a frame of trades of which some rows could not be read", SalvagedTrades),
    RecordSource(
        "ws:ticker:<connection>?<pair>=<session>.<message>",
        "a frame of quotes, with the session and the message number of its first row; `&` parts several pairs",
        StreamedQuotes,
    ),
    RecordSource(
        "ended:ticker:<connection>",
        "the sessions of quotes that ended: the number of their messages, and until when they are known to have run",
        EndedQuotes,
    ),
    RecordSource(
        "ws:book:<connection>?<pair>=<session>.<message>",
        "a frame of a book; further on `&depth=` and `&digits=` of a snapshot, the prices that fell out of the window "
        "in `&bids=` and `&asks=`, and `&mismatch` if the checksum did not hold",
        StreamedBook,
    ),
    RecordSource(
        "checkpoint:book?<pair>=<session>.<message>&depth=<depth>&digits=<price>.<qty>",
        "the whole book, as the row of a snapshot, written down by the recorder; its message is one of the session",
        BookCheckpoint,
    ),
    RecordSource(
        "ended:book:<connection>",
        "the sessions of books that ended: the number of their messages, until when they are known to have run, why",
        EndedBooks,
    ),
    RecordSource("ws:status:<connection>", "a frame with the state of the exchange", NotedFrame),
    RecordSource("ws:answer:<connection>", "what the exchange answers to a message of ours", NotedFrame),
    RecordSource(
        "ws:unreadable:<connection>",
        "a frame that could not be read, is of an unknown kind, or has rows of a pair that was not requested",
        UnreadableRecord,
    ),
    RecordSource("rest:/0/public/Trades?<query>#<pair>", "a page of trades", PolledTrades),
    RecordSource(
        "rest-rows:/0/public/Trades?<query>#<pair>",
        "`rows` of a page of trades that could not be read, and the `ids` that each may be of, first and last, or null",
        OddTrades,
    ),
    RecordSource(
        "rest:/0/public/OHLC?<query>#<pair>",
        "candles of one pair and timeframe; the last is still running",
        PublishedCandles,
    ),
    RecordSource(
        "rest:/0/public/AssetPairs?<query>",
        "all that is listed of the asset class that the query names; without a query, of the usual one",
        ListingRecord,
    ),
    RecordSource(
        "rest-unreadable:<path and query>#<pair>",
        "an answer that could not be read; without `#` if it was not of one pair",
        UnreadableRecord,
    ),
    RecordSource(event_kinds.NOTE, "an event that the recorder notes itself, or the head of the segment", _note),
)
"""All sources ever written; a source is never removed, because old journals are read for ever."""


def read(line: Line) -> Record:
    """Return the record of a journal line. Never fails: its content is parsed when it is requested."""
    return _reader_of(line)(line)


def _reader_of(line: Line) -> Callable[[Line], Record]:
    kind, mark, _ = line.source.partition("?")  # what follows differs from line to line, and tells no kind
    return _reader((kind + mark)[:_SHOWN])


@lru_cache(_SOURCES_KEPT)
def _reader(source: str) -> Callable[[Line], Record]:
    return next((one.read for one in SOURCES if one.names(source)), UnknownRecord)


def trades(line: Line) -> list[Trade]:
    """Return the trades in a journal line; none if it is something else. Raises Malformed."""
    return rows(line)[0]


def rows(line: Line) -> TradesAndOddRows:
    """Return the trades in a journal line, and its rows of trades that cannot be read. Raises Malformed.

    Both are empty if it is something else.
    """
    record = read(line)
    return record.rows() if isinstance(record, TradeRecord) else ([], ())


def claims(lines: Iterable[Line | CorruptLine]) -> Iterator[Run | Knowledge]:
    """Yield the claims about ids in durable lines: stored runs, and evidence.

    Lines that cannot be read or understood are skipped: the drain reads the same lines and reports them.
    """
    for line in lines:
        if not isinstance(line, CorruptLine):
            try:  # noqa: SIM105 -- suppress() would be paid for by each of millions of lines
                yield from _claimed(line)
            except Malformed:
                pass


def _claimed(line: Line) -> Sequence[Run | Knowledge]:
    match read(line):
        case TradeRecord() as record:
            return record.runs()
        case Note() as note:
            claim = evidence.from_event(note.event())
            return () if claim is None else (claim,)
        case (
            PublishedCandles()
            | ListingRecord()
            | TableRows()
            | Header()
            | NotedFrame()
            | UnreadableRecord()
            | UnknownRecord()
        ):
            return ()
        case never:
            assert_never(never)


def usual_trades(line: Line) -> list[Trade] | None:
    """Return the trades of a frame none of which is odd in any way, at the least cost; None for all other lines."""
    if _reader_of(line) is not StreamedTrades:
        return None
    return trade_frames.parse_usual_trades(line.payload, received_ns=line.recv_ns)


def streamed_pair(line: Line) -> str | None:
    """Return whose trade is the first in a frame of trades, without parsing it; None for all other lines, and forms."""
    return trade_frames.first_pair(line.payload) if _reader_of(line) is StreamedTrades else None


def rows_checked_again(line: Line) -> TradesAndOddRows:
    """Return what :func:`rows` does, after checking each number again: for a line that does not fit the archive."""
    record = read(line)
    return SalvagedTrades(line).rows() if isinstance(record, StreamedTrades) else rows(line)


def stream_source(channel: str, connection: int) -> str:
    """Return the source of a frame: its channel, and the connection by which it came."""
    return f"ws:{channel}:{connection}"


def parked_source(connection: int, parked_from: Mapping[str, int]) -> str:
    """Return the source of a frame of trades with ids that are parked, given the first such id by pair."""
    return f"ws:parked:{connection}?{urlencode(parked_from)}"


def numbered_source(channel: str, connection: int, numbers: Mapping[str, tuple[int, int]]) -> str:
    """Return the source of a frame without ids: of each pair its session, and the message number of its first row."""
    numbering = "&".join(f"{quote(pair, safe='')}={session}.{message}" for pair, (session, message) in numbers.items())
    return f"{stream_source(channel, connection)}?{numbering}"


def ended_source(channel: str, connection: int) -> str:
    """Return the source of what the recorder notes when sessions end."""
    return f"ended:{channel}:{connection}"


def book_source(connection: int, place: str) -> str:
    """Return the source of a frame of a book, with the place of its message (``book_lines``)."""
    return f"ws:book:{connection}?{place}"


def checkpoint_source(place: str) -> str:
    """Return the source of a checkpoint, likewise: no connection brought it."""
    return f"checkpoint:book?{place}"


def encode_book_ends(ends: Sequence[BookEnd]) -> bytes:
    """Return what is journalled of sessions of books that ended."""
    return msgspec.json.encode(_BookEnds(list(ends)))


def encode_ends(ends: Sequence[SessionEnd]) -> bytes:
    """Return what is journalled of sessions that ended."""
    return msgspec.json.encode(_Ends(list(ends)))


def rest_source(request: rest_api.Request, pair: str | None = None) -> str:
    """Return the source of an answer: the request, and the pair it was made for, if any."""
    return f"rest:{_target(request, pair)}"


def odd_source(request: rest_api.Request, pair: str) -> str:
    """Return the source of rows of an answer that could not be read, while others could."""
    return f"rest-rows:{_target(request, pair)}"


def unreadable_source(request: rest_api.Request, pair: str | None = None) -> str:
    """Return the source of an answer that could not be read, so that it is not taken for a valid one."""
    return f"rest-unreadable:{_target(request, pair)}"


def _target(request: rest_api.Request, pair: str | None) -> str:
    return request.target if pair is None else f"{request.target}#{quote(pair, safe='')}"


def _pair_name(line: Line) -> str:
    return unquote(line.source.partition("#")[2])


def _pair(line: Line) -> str:
    pair = _pair_name(line)
    if not is_pair(pair):
        raise Malformed(f"a source that names no pair: {line.source[:_SHOWN]}")
    return pair


def _result(line: Line) -> bytes:
    """Return the result in a journalled answer. Raises Malformed, also if it is an error of Kraken's."""
    try:
        return rest_api.result(200, line.payload)
    except Malformed:
        raise
    except ExchangeError as error:
        raise Malformed(f"a journalled answer that is none: {error}") from error
