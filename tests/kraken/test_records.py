from __future__ import annotations

import typing
from decimal import Decimal
from typing import Any

import pytest

from recorder.archive.datasets import BY_NAME, WITHOUT_IDS
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Confirmed, Void
from recorder.core.model import BookRow, Event, Instrument, SessionPart
from recorder.core.trade_ids import Run, Span
from recorder.errors import CorruptLine, Malformed
from recorder.journal import segment
from recorder.journal.segment import Entry
from recorder.kraken import records, rest_api, timestamps
from recorder.kraken.quote_session import SessionEnd
from recorder.kraken.records import (
    SOURCES,
    BookCheckpoint,
    EndedBooks,
    EndedQuotes,
    Header,
    ListingRecord,
    Note,
    NotedFrame,
    OddTrades,
    ParkedTrades,
    PolledTrades,
    PublishedCandles,
    Record,
    SalvagedTrades,
    StreamedBook,
    StreamedQuotes,
    StreamedTrades,
    TableRows,
    TradeRecord,
    UnknownRecord,
    UnreadableRecord,
)

# Lines that earlier releases wrote, byte for byte: they are to be read for ever.
HEADER = (
    b'{"recv_ns":1762776000000000000,"source":"note","crc32":3603569109,"payload":{"note":"segment","number":7,'
    b'"format":1,"writer":"kraken-recorder 0.1.0"}}'
)
TRADES = (
    b'{"recv_ns":1762776001250000321,"source":"ws:trade:1","crc32":358344726,"payload":{"channel":"trade","type":'
    b'"update","data":[{"symbol":"BTC/USD","side":"buy","price":104250.10,"qty":0.00480000,"ord_type":"limit",'
    b'"trade_id":90001,"timestamp":"2025-11-10T12:00:01.244801Z"},{"symbol":"BTC/USD","side":"buy","price":104250.20,'
    b'"qty":0.10000000,"ord_type":"limit","trade_id":90002,"timestamp":"2025-11-10T12:00:01.244801Z"}]}}'
)
PARKED = (
    b'{"recv_ns":1762776002250000321,"source":"ws:parked:1?BTC%2FUSD=1099511627776","crc32":2650860313,"payload":'
    b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":104250.10,"qty":0.004'
    b'80000,"ord_type":"limit","trade_id":90003,"timestamp":"2025-11-10T12:00:02.244801Z"},'
    b'{"symbol":"BTC/USD","side":"buy","price":1.0,"qty":0.10000000,"ord_type":"limit","trade_id":10995116'
    b'27776,"timestamp":"2025-11-10T12:00:02.244801Z"}]}}'
)
UNREADABLE = (
    b'{"recv_ns":1762776004000000000,"source":"ws:unreadable:1","crc32":2040712750,"text":"upstream timed out\\n"}'
)
NO_TEXT = b'{"recv_ns":1762776004000000001,"source":"ws:unreadable:12","crc32":3420856780,"base64":"//4A"}'
CANDLES = (
    b'{"recv_ns":1762776005000000000,"source":"rest:/0/public/OHLC?pair=XBTUSD&interval=1#BTC%2FUSD","crc32":1534606280,'
    b'"payload":{"error":[],"result":{"XXBTZUSD":[[1762775880,"104201.1","104250.0","104201.1","104249.9","104230.4",'
    b'"1.20450000",17],[1762775940,"104249.9","104249.9","104249.9","104249.9","0.0","0.00000000",0],[1762776000,'
    b'"104250.1","104250.2","104250.1","104250.2","104250.1","0.10480000",2]],"last":1762775940}}}'
)
NOTE = (
    b'{"recv_ns":1762776006000000000,"source":"note","crc32":3215747364,'
    b'"payload":{"note":"disconnected","connection":1}}'
)
PAGE = (
    b'{"recv_ns":1762776007000000000,"source":"rest:/0/public/Trades?pair=XBTUSD&since=1762776001244800999&count=1000'
    b'#BTC%2FUSD","crc32":2280497499,"payload":{"error":[],"result":{"XXBTZUSD":[["104249.90000","0.02500000",'
    b'1762776003.491022,"s","m","",90005]],"last":"1762776003491022000"}}}'
)
LISTING = (
    b'{"recv_ns":1762776008000000000,"source":"rest:/0/public/AssetPairs","crc32":2650330166,"payload":{"error":[],'
    b'"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD","pair_decimals":1,'
    b'"lot_decimals":8}}}}'
)
STATUS = (
    b'{"recv_ns":1762776009000000000,"source":"ws:status:3","crc32":3018127152,"payload":{"channel":"status","type":'
    b'"update","data":[{"system":"online","api_version":"v2","connection_id":7,"version":"2.0.10"}]}}'
)
ANSWER = (
    b'{"recv_ns":1762776010000000000,"source":"ws:answer:3","crc32":2532447350,"payload":{"method":"subscribe",'
    b'"result":{"channel":"trade","snapshot":true,"symbol":"BTC/USD"},"success":true,"req_id":1}}'
)
ODD_FRAME = segment.encode(
    1_762_776_010_500_000_000,
    "ws:odd:3",
    segment.decode(TRADES).payload.replace(b'"trade_id":90002', b'"trade_id":0').replace(b"90001", b"90006"),
).rstrip(b"\n")
ODD_ROWS = segment.encode(
    1_762_776_010_600_000_000,
    "rest-rows:/0/public/Trades?pair=XBTUSD&since=1&count=1000#BTC%2FUSD",
    b'{"ids":[[90007,90007]],"rows":[["104249.90000","0.02500000",1762776003.491022,"s","m",null,90007]]}',
).rstrip(b"\n")
REFUSED = (
    b'{"recv_ns":1762776011000000000,"source":"rest-unreadable:/0/public/SystemStatus","crc32":223132457,"payload":[]}'
)
REFUSED_PAGE = (
    b'{"recv_ns":1762776012000000000,"source":"rest-unreadable:/0/public/Trades?pair=XBTUSD&count=1000#BTC%2FUSD",'
    b'"crc32":223132457,"payload":[]}'
)
QUOTE = segment.encode(
    1_762_776_012_100_000_000,
    "ws:ticker:3?BTC%2FUSD=1762776012000000000.1",
    b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":83744.2,"bid_qty":0.56251979,"ask":83744.3,'
    b'"ask_qty":0.00044780,"last":83744.3,"volume":3156.84782110,"timestamp":"2025-11-10T12:00:12.044801Z"}]}',
).rstrip(b"\n")
ENDED = (
    b'{"recv_ns":1762776012500000000,"source":"ended:ticker:3","crc32":1554365083,"payload":{"ended":[{"pair":"BTC/USD",'
    b'"session":1762776012000000000,"messages":2,"until_ns":1762776012300000000}]}}'
)
BOOK = segment.encode(
    1_762_776_012_600_000_000,
    "ws:book:3?BTC%2FUSD=1762776012000000000.1&asks=104260.1",
    b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[{"price":104250.1,"qty":0.25000000}'
    b'],"checksum":3259862334,"timestamp":"2025-11-10T12:00:12.544801Z"}]}',
).rstrip(b"\n")
CHECKPOINT = segment.encode(
    1_762_776_012_700_000_000,
    "checkpoint:book?BTC%2FUSD=1762776012000000000.2&depth=10&digits=1.8",
    b'{"symbol":"BTC/USD","bids":[],"asks":[{"price":104250.1,"qty":0.25000000}],"checksum":3259862334}',
).rstrip(b"\n")
BOOK_ENDED = segment.encode(
    1_762_776_012_800_000_000,
    "ended:book:3",
    b'{"ended":[{"pair":"BTC/USD","session":1762776012000000000,"messages":3,"until_ns":1762776012600000000,"reason":'
    b'"mismatch"}]}',
).rstrip(b"\n")
LATER = b'{"recv_ns":1762776013000000000,"source":"ws:level3:1","crc32":2745614147,"payload":{}}'

WRITTEN: dict[bytes, type[Record]] = {
    HEADER: Header,
    TRADES: StreamedTrades,
    PARKED: ParkedTrades,
    UNREADABLE: UnreadableRecord,
    NO_TEXT: UnreadableRecord,
    CANDLES: PublishedCandles,
    NOTE: Note,
    PAGE: PolledTrades,
    LISTING: ListingRecord,
    ODD_FRAME: SalvagedTrades,
    ODD_ROWS: OddTrades,
    STATUS: NotedFrame,
    ANSWER: NotedFrame,
    QUOTE: StreamedQuotes,
    ENDED: EndedQuotes,
    BOOK: StreamedBook,
    CHECKPOINT: BookCheckpoint,
    BOOK_ENDED: EndedBooks,
    REFUSED: UnreadableRecord,
    REFUSED_PAGE: UnreadableRecord,
    LATER: UnknownRecord,
}


def of(line: bytes) -> Record:
    return records.read(segment.decode(line))


@pytest.mark.parametrize(("line", "kind"), WRITTEN.items(), ids=[segment.decode(line).source for line in WRITTEN])
def test_a_line_that_was_ever_written_is_read_as_what_it_is(line: bytes, kind: type[Record]) -> None:
    assert type(of(line)) is kind


def test_every_source_and_every_record_is_among_the_lines_above() -> None:
    entries = [segment.decode(line) for line in WRITTEN]
    assert all(any(source.names(entry.source) for entry in entries) for source in SOURCES)
    ours = {kind for kind in below(Record) if kind.__module__.startswith("recorder.")}
    assert set(WRITTEN.values()) == ours - {TableRows, TradeRecord}


def below(*kinds: Any) -> set[type]:
    """Return the classes of a union, and all that inherit from them."""
    found = {one for kind in kinds for one in typing.get_args(kind) or (kind,)}
    return found.union(*(below(*one.__subclasses__()) for one in found))


def test_rows_are_of_a_table_without_ids_that_there_is_and_come_by_its_partition() -> None:
    for line, kind in WRITTEN.items():
        if issubclass(kind, TableRows):
            record = of(line)
            assert isinstance(record, TableRows)
            assert record.tables()[kind.table] == record.parts()
            for table, parts in record.tables().items():
                dataset = BY_NAME[table]
                assert dataset in WITHOUT_IDS
                for value, rows in parts.items():
                    assert (value is None) == (dataset.partition is None)
                    assert dataset.build(rows).num_rows == len(rows) > 0


def test_each_source_is_named_by_one_form_at_most() -> None:
    for line in WRITTEN:
        assert sum(source.names(segment.decode(line).source) for source in SOURCES) <= 1
    assert not any(source.names("notes") or source.names("rest:/0/public/Time") for source in SOURCES)


def test_what_is_written_now_is_named_as_ever() -> None:
    page = rest_api.Request("/0/public/Trades", (("pair", "XBTUSD"), ("count", "1000")))
    status = rest_api.Request("/0/public/SystemStatus")
    assert records.stream_source("trade", 1) == segment.decode(TRADES).source
    assert records.rest_source(rest_api.asset_pairs()) == segment.decode(LISTING).source
    assert records.unreadable_source(status) == segment.decode(REFUSED).source
    assert records.unreadable_source(page, "BTC/USD") == segment.decode(REFUSED_PAGE).source
    assert records.rest_source(page, "BTC/USD") == "rest:/0/public/Trades?pair=XBTUSD&count=1000#BTC%2FUSD"


# -- trades ---------------------------------------------------------------------------------------------------------


def test_a_frame_and_a_page_carry_trades_and_no_other_line_does() -> None:
    carried = {line: [trade.trade_id for trade in records.trades(segment.decode(line))] for line in WRITTEN}
    assert {line: ids for line, ids in carried.items() if ids} == {
        TRADES: [90001, 90002],
        PARKED: [90003],
        PAGE: [90005],
        ODD_FRAME: [90006],
    }
    streamed, polled = records.trades(segment.decode(TRADES))[0], records.trades(segment.decode(PAGE))[0]
    assert (streamed.source, streamed.received_us) == ("ws", 1_762_776_001_250_000)
    assert (polled.source, polled.received_us, polled.pair) == ("rest", None, "BTC/USD")


def test_whose_trades_a_line_carries_is_seen_without_parsing_it() -> None:
    streamed = of(TRADES.replace(b'"price"', b'"prize"').replace(b"358344726", b"3073642910"))
    assert isinstance(streamed, StreamedTrades)
    assert streamed.first_pair() == "BTC/USD"
    with pytest.raises(Malformed):
        streamed.trades()
    assert StreamedTrades(Entry(1, "ws:trade:1", b'{"type":"update","channel":"trade"}')).first_pair() is None
    assert PolledTrades(Entry(1, "rest:/0/public/Trades?pair=X#ETH%2FUSD", b"no page")).first_pair() == "ETH/USD"


def test_rows_that_could_not_be_read_are_told_with_what_is_known_of_them() -> None:
    odd = {line: records.rows(segment.decode(line))[1] for line in WRITTEN}
    told = {line: [(row.pair, row.span) for row in rows] for line, rows in odd.items() if rows}
    assert told == {ODD_FRAME: [("BTC/USD", None)], ODD_ROWS: [("BTC/USD", Span(90007, 90007))]}


def test_rows_that_can_be_read_by_now_are_trades() -> None:
    entry = segment.decode(ODD_ROWS)
    mended = Entry(entry.recv_ns, entry.source, entry.payload.replace(b"null", b'""'))
    assert [row.trade_id for row in records.trades(mended)] == [90007]


def test_a_frame_of_an_earlier_release_is_read_row_by_row_where_it_must_be() -> None:
    entry = segment.decode(ODD_FRAME)
    earlier = Entry(entry.recv_ns, "ws:trade:3", entry.payload)
    assert [row.trade_id for row in records.trades(earlier)] == [90006]
    assert list(records.claims([earlier])) == list(records.claims([entry]))


@pytest.mark.parametrize("body", [b'{"error":["EService:Busy"]}', b"not JSON", b'{"error":[],"result":5}', b"[]"])
def test_a_journalled_error_answer_is_malformed_not_an_exchange_error(body: bytes) -> None:
    for holding in (
        PolledTrades(Entry(1, segment.decode(PAGE).source, body)).trades,
        PublishedCandles(Entry(1, segment.decode(CANDLES).source, body)).candles,
        ListingRecord(Entry(1, segment.decode(LISTING).source, body)).listed,
    ):
        with pytest.raises(Malformed):
            holding()


# -- candles and listings -------------------------------------------------------------------------------------------


def test_a_line_of_candles_says_of_which_pair_and_timeframe(listed: list[Instrument]) -> None:
    answer = of(CANDLES)
    assert isinstance(answer, PublishedCandles)
    assert [(one.pair, one.timeframe, one.close) for one in answer.candles()] == [
        ("BTC/USD", "1m", Decimal("104249.9")),
        ("BTC/USD", "1m", Decimal("104249.9")),
    ]
    tether = next(one for one in listed if one.pair == "USDT/USD")
    source = records.rest_source(rest_api.ohlc(tether, "1h", since_s=7200), "USDT/USD")
    of_an_hour = records.read(Entry(1, source, segment.decode(CANDLES).payload))
    assert isinstance(of_an_hour, PublishedCandles)
    assert {(one.pair, one.timeframe) for one in of_an_hour.candles()} == {("USDT/USD", "1h")}


def test_candles_in_no_timeframe_are_malformed() -> None:
    with pytest.raises(Malformed, match="an interval that there is not"):
        PublishedCandles(Entry(1, "rest:/0/public/OHLC?pair=XBTUSD&interval=7#BTC%2FUSD", b"{}")).candles()


def test_a_listing_is_read() -> None:
    listing = of(LISTING)
    assert isinstance(listing, ListingRecord)
    assert [instrument.pair for instrument in listing.listed().entries] == ["BTC/USD"]
    assert listing.listed().asset_class == "currency"
    stocks = ListingRecord(Entry(1, "rest:/0/public/AssetPairs?aclass_base=tokenized_asset", listing.line.payload))
    assert stocks.listed().asset_class == "tokenized_asset"
    assert list(stocks.entries()) == ["XXBTZUSD"]


# -- notes ----------------------------------------------------------------------------------------------------------


def noted(recv_ns: int, kind: str, **detail: object) -> Record:
    return of(segment.encode_note(recv_ns, kind, **detail).rstrip(b"\n"))


def test_a_note_is_an_event_and_what_it_says_beside_kind_and_pair_is_its_detail() -> None:
    rejected = noted(1_500_999, EventKind.REJECTED, pair="BTC/USD", reason='no "BTC"')
    assert isinstance(rejected, Note)
    assert rejected.event() == Event(1_500, "rejected", "BTC/USD", '{"reason":"no \\"BTC\\""}')
    other = noted(0, "of_a_later_release")
    assert isinstance(other, Note)
    assert other.event() == Event(0, "of_a_later_release", None, "{}")


def test_the_head_of_a_segment_is_no_event() -> None:
    assert isinstance(noted(0, "segment", number=7), Header)
    assert isinstance(noted(0, "segment"), Header)
    assert isinstance(noted(0, "segments"), Note)


@pytest.mark.parametrize("payload", [b"{}", b"[]", b'{"note":7}', b'{"note":"void","pair":7}', b"\xff"])
def test_a_note_that_cannot_be_read_is_malformed(payload: bytes) -> None:
    note = records.read(Entry(0, "note", payload))
    assert isinstance(note, Note)
    with pytest.raises(Malformed):
        note.event()


# -- claims ---------------------------------------------------------------------------------------------------------


def test_lines_claim_the_runs_of_their_trades_and_the_evidence_of_notes() -> None:
    void = segment.encode_note(0, EventKind.VOID, pair="BTC/USD", first_id=90003, last_id=90004)
    confirmed = segment.encode_note(0, EventKind.CONFIRMED, pair="BTC/USD", last_id=90005, until_us=7)
    lines = [segment.decode(line) for line in (*WRITTEN, void.rstrip(b"\n"), confirmed.rstrip(b"\n"))]
    first_us, last_us = 1_762_776_001_244_801, 1_762_776_003_491_022
    assert list(records.claims(lines)) == [
        Run("BTC/USD", Span(90001, 90002), first_us, first_us),
        Run("BTC/USD", Span(90003, 90003), first_us + 1_000_000, first_us + 1_000_000),
        Run("BTC/USD", Span(90005, 90005), last_us, last_us),
        Run("BTC/USD", Span(90006, 90006), first_us, first_us),
        Void("BTC/USD", Span(90003, 90004)),
        Confirmed("BTC/USD", 90005, 7),
    ]


def test_of_a_frame_with_parked_ids_the_others_count_alone() -> None:
    line = of(PARKED)
    assert isinstance(line, ParkedTrades)
    assert [row.trade_id for row in line.trades()] == [90003]
    assert [row.trade_id for row in line.parked()] == [1 << 40]
    assert line.parked_from() == {"BTC/USD": 1 << 40}
    assert line.released_source({}) == "ws:trade:1"
    assert line.released_source({"ETH/USD": 7}) == "ws:parked:1?ETH%2FUSD=7"


@pytest.mark.parametrize("source", ["ws:parked:1", "ws:parked:1?BTC%2FUSD=x"])
def test_a_frame_that_does_not_tell_which_ids_are_parked_is_not_understood(source: str) -> None:
    line = records.read(Entry(1, source, segment.decode(TRADES).payload))
    assert isinstance(line, ParkedTrades)
    with pytest.raises(Malformed):
        line.trades()


def test_lines_that_are_damaged_or_not_understood_claim_nothing_and_stop_nothing() -> None:
    spoilt: list[Entry | CorruptLine] = [
        CorruptLine("no line", b"?"),
        Entry(1, "ws:trade:1", b'{"channel":"trade"}'),
        Entry(1, "rest:/0/public/Trades?pair=XBTUSD#BTC%2FUSD", b'{"error":["EService:Busy"]}'),
        Entry(1, "note", b"[]"),
    ]
    assert len(list(records.claims([*spoilt, segment.decode(TRADES)]))) == 1


def test_a_frame_of_quotes_tells_its_session_and_what_it_is_of_it() -> None:
    record = of(QUOTE)
    assert isinstance(record, StreamedQuotes)
    ((pair, (quote,)),) = record.parts().items()
    assert (pair, quote.session, quote.message, quote.bid) == (
        "BTC/USD",
        1_762_776_012_000_000_000,
        1,
        Decimal("83744.2"),
    )
    seen_us = 1_762_776_012_100_000
    assert record.tables()["quote_sessions"] == {
        None: [SessionPart("BTC/USD", quote.session, 1, 1, 1, seen_us, seen_us, None, seen_us)]
    }
    ended = of(ENDED)
    assert isinstance(ended, EndedQuotes)
    assert ended.parts() == {
        None: [
            SessionPart("BTC/USD", quote.session, None, 1, 0, None, None, 1_762_776_012_300_000, 1_762_776_012_500_000)
        ]
    }


@pytest.mark.parametrize(
    "source",
    [
        "ws:ticker:3",
        "ws:ticker:3?",
        "ws:ticker:3?BTC%2FUSD",
        "ws:ticker:3?BTC%2FUSD=5",
        "ws:ticker:3?BTC%2FUSD=x.1",
        "ws:ticker:3?ETH%2FUSD=5.1",
    ],
)
def test_a_frame_of_quotes_without_its_numbers_is_malformed(source: str) -> None:
    entry = segment.decode(QUOTE)
    line = segment.encode(entry.recv_ns, source, entry.payload).rstrip(b"\n")
    record = of(line)
    assert isinstance(record, StreamedQuotes)
    with pytest.raises(Malformed):
        record.parts()


def test_what_is_written_of_numbers_and_ends_is_read_as_it_was() -> None:
    numbers = {"BTC/USD": (7, 0), "A&B=C/D.E?": (8, 12)}
    source = records.numbered_source("ticker", 5, numbers)
    assert source.startswith("ws:ticker:5?BTC%2FUSD=7.0&")
    assert records._numbers(source) == numbers
    ends = [SessionEnd("BTC/USD", 7, 3, 9_000), SessionEnd("ETH/USD", 8, 1, 10_000)]
    line = segment.encode(11_000, records.ended_source("ticker", 5), records.encode_ends(ends)).rstrip(b"\n")
    record = of(line)
    assert isinstance(record, EndedQuotes)
    assert [(part.session, part.last_message, part.ended_us) for part in record.parts()[None]] == [
        (7, 2, 9),
        (8, 0, 10),
    ]


# -- books ----------------------------------------------------------------------------------------------------------


def test_a_frame_of_a_book_has_its_levels_and_what_they_pushed_out() -> None:
    record = of(BOOK)
    assert isinstance(record, StreamedBook)
    tables = record.tables()
    session, received_us = 1_762_776_012_000_000_000, 1_762_776_012_600_000
    time_us = timestamps.micros("2025-11-10T12:00:12.544801Z")
    assert tables["book"] == {
        "BTC/USD": [
            BookRow("BTC/USD", time_us, received_us, session, 1, at, kind, "ask", price, qty, None)  # type: ignore[arg-type]
            for at, (kind, price, qty) in enumerate(
                [("update", "104250.1", "0.25000000"), ("evicted", "104260.1", "0")]
            )
        ]
    }
    (part,) = tables["book_sessions"][None]
    assert (part.first_message, part.last_message, part.messages, part.verified, part.mismatches) == (1, 1, 1, 1, 0)


def test_a_mismatch_and_an_end_because_of_it_are_told() -> None:
    line = segment.decode(BOOK)
    wrong = records.read(Entry(line.recv_ns, f"{line.source}&mismatch", line.payload))
    assert isinstance(wrong, StreamedBook)
    (part,) = wrong.tables()["book_sessions"][None]
    assert (part.verified, part.mismatches) == (0, 1)
    ended = of(BOOK_ENDED)
    assert isinstance(ended, EndedBooks)
    (event,) = ended.tables()["events"][None]
    assert (event.kind, event.pair) == (EventKind.BOOK_LOST, "BTC/USD")
    (end,) = ended.parts()[None]
    assert (end.end, end.ended_us, end.last_message) == ("mismatch", 1_762_776_012_600_000, 2)


@pytest.mark.parametrize(
    ("source", "payload"),
    [
        ("ws:book:3", segment.decode(BOOK).payload),
        ("ws:book:3?BTC%2FUSD=1", segment.decode(BOOK).payload),
        ("ws:book:3?ETH%2FUSD=1.0", segment.decode(BOOK).payload),
        ("ws:book:3?BTC%2FUSD=1.0&depth=10", segment.decode(BOOK).payload),
        ("ws:book:3?BTC%2FUSD=1.0", b'{"channel":"book","type":"update","data":[]}'),
        ("checkpoint:book?BTC%2FUSD=1.0", segment.decode(BOOK).payload),
        ("ended:book:3", b'{"ended":[{"pair":"BTC/USD"}]}'),
    ],
)
def test_a_line_of_a_book_that_does_not_tell_what_it_should_is_malformed(source: str, payload: bytes) -> None:
    record = records.read(Entry(1, source, payload))
    assert isinstance(record, TableRows)
    with pytest.raises(Malformed):
        record.tables()
