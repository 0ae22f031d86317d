"""Quotes in SQL: views, and macros on numbers checked by hand and against a slow, plain calculation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from random import Random

import pytest

from recorder.archive import verify_tables
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import QUOTE_SESSIONS, QUOTES, Branch
from recorder.archive.layout import Layout
from recorder.archive.segment_tables import Segments
from recorder.core.model import TopOfBook
from recorder.disk import Disk
from recorder.errors import GapError, StorageError, UnsoundFile, UsageError
from recorder.query import catalogue
from recorder.query.catalogue import Needs
from recorder.query.connect import connect
from tests.archives import START, START_US, Ask, Written, at_us, minute, quote, sold, trade

BTC, ETH = "BTC/USD", "ETH/EUR"
SECOND_US = 1_000_000


def second(number: float) -> int:
    return START_US + round(number * SECOND_US)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def D(text: str) -> Decimal:  # noqa: N802 -- a short word for what stands in every row
    return Decimal(text)


def test_a_quote_has_a_row_for_each_frame_and_its_session_is_summed_over_segments(archive: Written, ask: Ask) -> None:
    first = [quote(7, number, second(number)) for number in (0, 1)]
    archive.quoted([*first, quote(9, 0, second(1), pair=ETH)])
    archive.quoted([quote(7, 2, second(5)), quote(7, 4, second(6))], ended={(BTC, 7): second(8)})
    assert ask("SELECT pair, session, message FROM quotes ORDER BY ALL") == [
        *((BTC, 7, number) for number in (0, 1, 2, 4)),
        (ETH, 9, 0),
    ]
    assert ask("FROM quote_sessions ORDER BY pair") == [
        (BTC, 7, 0, 4, 4, 1, after(0), after(6), after(8)),
        (ETH, 9, 0, 0, 1, 0, after(1), after(1), None),
    ]
    with connect(archive.data) as opened:
        told = opened.sql("FROM quote_sessions ORDER BY pair", to="arrow")
        assert told["rows"].to_pylist() == [4, 1]
    assert ask("FROM unsound_files") == []


def test_a_spread_is_weighted_by_time_and_nothing_is_carried_over_the_end_of_a_session(
    archive: Written, ask: Ask
) -> None:
    archive.quoted(
        [
            quote(7, 0, second(-10), "100", "104"),  # in force when the first bar begins
            quote(7, 1, second(15), "100", "102"),
            quote(7, 2, second(45), "100", "101"),
            quote(8, 0, second(70), "100", "110"),
        ],
        ended={(BTC, 7): second(50), (BTC, 8): second(73)},
    )
    # 4 for 15 s, 2 for 30 s, 1 for 5 s, nothing for 10 s; then 10 for 3 s
    mean = (D("4") * 15 + D("2") * 30 + D("1") * 5) / 50
    assert ask("FROM spread_bars('BTC/USD', '1 minute', ?, ?)", minute(0), minute(2)) == [
        (BTC, minute(0), minute(1), mean, D("1"), D("4"), 2, 50 / 60),
        (BTC, minute(1), minute(2), D("10"), D("10"), D("10"), 1, 3 / 60),
    ]


def test_what_is_not_known_is_no_spread(archive: Written, ask: Ask) -> None:
    archive.quoted(
        [
            quote(7, 0, second(0), "100", "101"),
            quote(7, 2, second(20), "100", "103"),  # a frame between them could not be read
            quote(7, 3, second(30), "0", "103"),  # nobody bids
            quote(7, 4, second(40), "102", "101"),  # crossed
            quote(7, 5, second(50), "100", "102"),  # and nobody noted how its session ended
        ]
    )
    ((*_, mean, least, most, quotes, known),) = ask("FROM spread_bars('BTC/USD', '1 minute')")
    assert (mean, least, most, quotes, known) == ((3 * D("10") - D("10")) / 20, D("-1"), D("3"), 5, 20 / 60)


def plain_bars(rows: list[TopOfBook], ended: dict[int, int], width_us: int) -> dict[int, tuple[object, ...]]:
    """Return the bars microsecond by microsecond of change, as slowly as a person would."""
    held: dict[int, list[tuple[int, Decimal]]] = {}
    extremes: dict[int, list[Decimal]] = {}
    for index, row in enumerate(rows):
        following = rows[index + 1] if index + 1 < len(rows) else None
        same = following is not None and following.session == row.session
        until = following.received_us if same and following is not None else ended[row.session]
        assert row.bid is not None
        assert row.ask is not None
        since = row.received_us
        extremes.setdefault(since // width_us, []).append(row.ask - row.bid)
        while since < until:
            end = min(until, (since // width_us + 1) * width_us)
            held.setdefault(since // width_us, []).append((end - since, row.ask - row.bid))
            extremes.setdefault(since // width_us, []).append(row.ask - row.bid)
            since = end
    bars: dict[int, tuple[object, ...]] = {}
    for number, spreads in extremes.items():
        total = sum(us for us, _ in held.get(number, []))
        mean = sum((us * spread for us, spread in held.get(number, [])), Decimal(0))
        cut = (mean / total).quantize(Decimal("1e-12"), ROUND_DOWN) if total else None
        bars[number * width_us] = (cut, min(spreads), max(spreads), total / width_us)
    return bars


def test_bars_are_those_of_a_slow_calculation_and_a_part_has_those_of_the_whole(archive: Written, ask: Ask) -> None:
    chance = Random(5)
    rows: list[TopOfBook] = []
    ended: dict[int, int] = {}
    now = START_US
    for session in range(1, 6):
        for message in range(chance.randint(1, 30)):
            bid = Decimal(chance.randint(10_000, 10_100)).scaleb(-3)
            spread = Decimal(chance.randint(1, 500)).scaleb(-3)
            rows.append(quote(session, message, now, str(bid), str(bid + spread)))
            now += chance.choice([0, 1, 999_999, 17_000_003, 90_000_000])
        ended[session] = now
        now += chance.randint(0, 200_000_000)
    for part in range(0, len(rows), 10):  # sessions reach over segments
        archive.quoted(rows[part : part + 10])
    archive.quoted([], ended={(BTC, session): at for session, at in ended.items()})
    whole = ask("FROM spread_bars('BTC/USD', '45 seconds')")
    assert all(bar[2] - bar[1] == timedelta(seconds=45) for bar in whole)  # type: ignore[operator]
    found = {round(bar[1].timestamp() * 1e6): (*bar[3:6], bar[7]) for bar in whole}  # type: ignore[attr-defined]
    assert found == plain_bars(rows, ended, 45 * SECOND_US)
    flow = ask("FROM quote_flow('BTC/USD', '45 seconds')")
    for start, stop in ((0, 3), (1, 20), (7, 8), (4, 60)):
        limits = minute(start), minute(stop)
        inside = [bar for bar in whole if limits[0] <= bar[1] < limits[1]]  # type: ignore[operator]
        assert ask("FROM spread_bars('BTC/USD', '45 seconds', ?, ?)", *limits) == inside
        inside = [bar for bar in flow if limits[0] <= bar[1] < limits[1]]  # type: ignore[operator]
        assert ask("FROM quote_flow('BTC/USD', '45 seconds', ?, ?)", *limits) == inside


def test_the_imbalance_of_quotes_is_what_a_person_computes_by_hand(archive: Written, ask: Ask) -> None:
    archive.quoted(
        [
            quote(7, 0, second(-5), "100", "101", bid_qty="5", ask_qty="4"),
            quote(7, 1, second(1), "100", "101", bid_qty="7", ask_qty="4"),  # +2
            quote(7, 2, second(2), "100.5", "101", bid_qty="1", ask_qty="3.5"),  # +1, +0.5
            quote(7, 3, second(3), "100", "100.9", bid_qty="9", ask_qty="2"),  # -1, -2
            quote(7, 5, second(4), "100", "101", bid_qty="9", ask_qty="2"),  # what was before it could not be read
            quote(8, 0, second(5), "90", "91"),  # another session
        ],
        ended={(BTC, 8): second(6)},
    )
    (bar,) = ask("FROM quote_flow('BTC/USD', '1 minute', ?, ?)", minute(0), minute(1))
    assert bar == (BTC, minute(0), minute(1), D("0.5"), 3, 2)


MICROPRICES = {
    ("100", "1", "101", "3"): "100.25",
    ("1", "3", "2", "4"): "1.428571428571",
    ("0.000000000001", "1", "0.000000000002", "1"): "0.000000000001",
    ("63501.6", "0.63889204", "63501.7", "12345678.12345678"): "63501.600000005175",
    ("0", "1", "101", "3"): None,
    ("100", "0", "101", "3"): None,
    ("1000000000", "1000000", "1000000001", "1"): None,
}


def test_the_microprice_is_exact_and_cut(ask: Ask) -> None:
    for (bid, bid_qty, offer, ask_qty), expected in MICROPRICES.items():
        price, qty = "DECIMAL(28,12)", "DECIMAL(28,8)"
        text = f"SELECT microprice({bid}::{price}, {bid_qty}::{qty}, {offer}::{price}, {ask_qty}::{qty})"
        assert ask(text) == [(None if expected is None else D(expected),)]


def test_a_trade_is_compared_with_the_quotes_before_it_and_after_the_horizon(archive: Written, ask: Ask) -> None:
    archive.append(
        [
            trade(1, second(10), "101"),
            sold(trade(2, second(20), "100")),
            trade(3, second(30), "101"),
            trade(4, second(40), "101"),
            trade(5, second(61), "101"),
        ]
    )
    archive.quoted(
        [
            quote(7, 0, second(9.5), "100", "101", time_us=second(9)),
            quote(7, 1, second(10.5), "100.2", "101.2", time_us=second(10)),  # what the first trade left
            quote(7, 2, second(14.5), "101", "102", time_us=second(14)),
            quote(7, 3, second(19.5), "100", "101", time_us=second(19)),
            quote(7, 4, second(39.5), "100", "101", time_us=second(39)),
            quote(7, 5, second(60), "100", "101", time_us=second(60)),
        ],
        ended={(BTC, 7): second(60.2)},
    )
    found = ask(
        "SELECT trade_id, bid, ask, effective_spread, realised_spread, price_impact FROM trade_spreads('BTC/USD')"
    )
    assert found == [
        # 2 * (101 - 100.5), and 2 * (101 - 101.5) five seconds later
        (1, D("100"), D("101"), D("1"), D("-1"), D("2")),
        (2, D("100"), D("101"), D("1"), None, None),  # six seconds are too many for the quote after it
        (3, None, None, None, None, None),
        (4, D("100"), D("101"), D("1"), None, None),
        (5, None, None, None, None, None),  # the session ended before it
    ]
    wide = ask(
        "SELECT trade_id, quote_age, realised_spread FROM trade_spreads('BTC/USD', tolerance := '1 minute') LIMIT 3"
    )
    assert wide == [
        (1, timedelta(seconds=1), D("-1")),
        (2, timedelta(seconds=1), D("1")),
        (3, timedelta(seconds=11), D("1")),
    ]
    part = "SELECT trade_id, effective_spread FROM trade_spreads('BTC/USD', ?, ?)"
    assert ask(part, after(20), after(40)) == [(2, D("1")), (3, None)]


def test_a_quote_without_a_time_counts_from_when_it_came(archive: Written, ask: Ask) -> None:
    archive.append([trade(1, second(10), "101")])
    one = quote(7, 0, second(9), "100", "101")
    archive.quoted([TopOfBook(**{**{name: getattr(one, name) for name in one.__struct_fields__}, "time_us": None})])
    assert ask("SELECT bid FROM trade_spreads('BTC/USD')") == [(None,)], "nobody knows how long its session ran"
    archive.quoted([], ended={(BTC, 7): second(11)})
    assert ask("SELECT bid FROM trade_spreads('BTC/USD')") == [(D("100"),)]


def test_an_archive_without_quotes_answers_with_no_rows(archive: Written, ask: Ask) -> None:
    archive.append([trade(1, at_us(0))])
    assert ask("FROM spread_bars('BTC/USD', '1 minute', ?, ?)", minute(0), minute(2)) == []
    assert ask("FROM quote_flow('BTC/USD', '1 minute')") == []
    assert ask("SELECT trade_id, effective_spread FROM trade_spreads('BTC/USD')") == [(1, None)]
    with connect(archive.data) as opened:
        assert opened.sql("FROM spread_bars('BTC/USD', '1 minute')", to="arrow").num_rows == 0


def test_quotes_come_in_frames_with_what_they_rest_on(archive: Written) -> None:
    first = [quote(7, number, second(number), str(100 + number)) for number in range(4)]
    archive.quoted([*first, quote(9, 0, second(1), pair=ETH)], ended={(BTC, 7): second(5)})
    archive.quoted([quote(8, 0, second(10)), quote(8, 2, second(12))], ended={(BTC, 8): second(13)})
    with connect(archive.data) as opened:
        frame = opened.quotes([ETH, BTC], on_gap="ignore")
        assert frame["pair"].astype(str).tolist() == [ETH, *[BTC] * 6]
        assert frame["bid"].tolist() == [100, 100, 101, 102, 103, 100, 100]
        assert frame.attrs["sessions"] == {ETH: [[9, 0, 0]], BTC: [[7, 0, 3], [8, 0, 2]]}
        assert frame.attrs["unknown"] == {
            ETH: [],
            BTC: [["2025-11-10T12:00:05.000000Z", "2025-11-10T12:00:10.000000Z"]],
        }
        assert (frame.attrs["missing"], frame.attrs["outside"]) == ({ETH: 0, BTC: 1}, {ETH: 0, BTC: 0})
        exact = opened.quotes(BTC, after(1), after(3), to="arrow", decimals=True)
        assert exact["bid"].to_pylist() == [D("101"), D("102")]
        assert exact["message"].to_pylist() == [1, 2]
        with pytest.raises(UsageError, match="the archive holds no quotes of 'XRP/USD'"):
            opened.quotes("XRP/USD")


def test_what_is_not_known_of_a_range_is_reported_as_gaps_of_trades_are(archive: Written) -> None:
    archive.quoted([quote(7, 0, second(0)), quote(7, 1, second(4))], ended={(BTC, 7): second(5)})
    archive.quoted([quote(8, 0, second(10)), quote(8, 2, second(12)), quote(8, 3, second(13))])
    with connect(archive.data) as opened:
        assert len(opened.quotes(BTC, after(0), after(5))) == 2
        assert len(opened.quotes(BTC, after(12), after(60))) == 2
        between = "none from 2025-11-10T12:00:05.000000Z to 2025-11-10T12:00:06.000000Z"
        with pytest.raises(GapError, match=between):
            opened.quotes(BTC, after(1), after(6))
        with pytest.raises(GapError, match="frames that could not be read: 1"):
            opened.quotes(BTC, after(10), after(13))
        with pytest.raises(GapError, match=r"they begin at 2025-11-10T12:00:00\.000000Z"):
            opened.quotes(BTC, minute(-1), after(1))
        with pytest.warns(UserWarning, match="quotes of this range were"):
            assert len(opened.quotes(BTC, on_gap="warn")) == 5


def test_rows_of_which_no_session_tells_are_reported_in_frames_and_batches_and_seen_in_sql(archive: Written) -> None:
    for number in range(3):
        archive.quoted([quote(7, 2 * number + n, second(2 * number + n)) for n in (0, 1)])
    files = sorted((archive.data / "quote_sessions" / "year=2025").glob("0*.parquet"))
    for left, path in zip((2, 4, 6), (files[1], files[2], files[0]), strict=True):
        path.unlink()
        said = f"quote_sessions lacks {left} rows that are stored"
        with connect(archive.data) as opened:
            with pytest.raises(GapError, match=said):
                opened.quotes(BTC)
            with pytest.raises(GapError, match=said):
                opened.quote_batches(BTC, rows=2)
            with pytest.warns(UserWarning, match=said):
                assert [len(piece) for piece in opened.quote_batches(BTC, rows=4, on_gap="warn")] == [4, 2]
            assert opened.quotes(BTC, on_gap="ignore").attrs["outside"] == {BTC: left}
            (told,) = opened.sql("FROM quotes_outside_sessions('BTC/USD')", to="arrow").to_pylist()
            assert (told["pair"], told["session"], told["rows"]) == (BTC, 7, left)


def test_sessions_of_two_recorders_count_once(archive: Written, ask: Ask) -> None:
    first = [quote(7, n, second(n), "100", str(101 + n % 3)) for n in range(30)]
    archive.quoted(first, ended={(BTC, 7): second(30)})
    questions = [f"FROM {name}('BTC/USD', '20 seconds', ?, ?)" for name in ("spread_bars", "quote_flow")]
    alone = [ask(question, after(0), after(20)) for question in questions]
    archive.quoted([quote(8, n, second(10.5 + n), "100", "109") for n in range(40)], ended={(BTC, 8): second(60)})
    assert [ask(question, after(0), after(20)) for question in questions] == alone
    assert [row[-1] for row in ask(questions[0], after(0), after(60))] == [1.0, 19.5 / 20, 1.0]
    assert ask("SELECT quotes FROM spread_bars('BTC/USD', '20 seconds', ?, ?)", after(20), after(40)) == [(20,)]


def test_batches_have_the_rows_of_the_whole_whatever_is_merged_meanwhile(archive: Written) -> None:
    for session in range(1, 6):
        rows = [quote(session, message, second(20 * session + message)) for message in range(7)]
        archive.quoted(rows, ended={(BTC, session): second(20 * session + 20)})
    with connect(archive.data) as opened:
        whole = opened.quotes(BTC, on_gap="ignore")
        pieces = opened.quote_batches(BTC, rows=4, on_gap="ignore")
        first = next(pieces)
        archive.quoted([quote(9, 0, second(900))], ended={(BTC, 9): second(901)})
        with archive_merged(archive):
            rest = list(pieces)
        assert [len(piece) for piece in (first, *rest)] == [4] * 8 + [3]
        assert [(one.session, one.message) for piece in (first, *rest) for one in piece.itertuples()] == list(
            zip(whole["session"], whole["message"], strict=True)
        )
        assert first.attrs["sessions"] == {BTC: [[1, 0, 3]]}


@contextlib.contextmanager
def archive_merged(archive: Written) -> Iterator[None]:
    """Merge all files of quotes, as a compaction does."""
    segments = Segments(archive.layout, Disk(), staging=archive.layout.staging)
    for branch in (Branch(QUOTES, BTC), Branch(QUOTE_SESSIONS)):
        assert compact_segments(segments, branch, today=date(9999, 1, 1)) is not None
    yield


def test_a_query_that_needs_no_quotes_lists_none_and_one_that_was_not_foreseen_fails(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.append([trade(1)])
    archive.quoted([quote(7, 0, second(0)), quote(7, 0, second(0), pair=ETH)])
    listed: list[str] = []
    leaves = Layout.leaves

    def noted(layout: Layout, branch: Branch) -> list[Path]:
        listed.append(branch.name)
        return leaves(layout, branch)

    monkeypatch.setattr(Layout, "leaves", noted)
    with connect(archive.data) as opened:
        assert len(opened.trades(BTC)) == len(opened.sql("FROM pair_trades('BTC/USD')")) == 1
        assert opened.events().empty
        assert not any("quotes" in name for name in listed)
        assert len(opened.quotes(BTC)) == 1
        assert [name for name in listed if "quotes" in name] == ["table=quotes,pair=BTC%2FUSD"]
        assert len(opened.sql("FROM quotes")) == 2
        monkeypatch.setattr(catalogue, "needs", lambda _: Needs(every=False, named=False, tables=()))
        with pytest.raises(StorageError, match="the files of quotes were not listed for this query"):
            opened.sql("FROM quotes")


def test_a_file_that_lies_among_the_quotes_of_another_pair_is_told_everywhere(archive: Written, ask: Ask) -> None:
    archive.quoted([quote(7, 0, second(0))])
    archive.quoted([quote(7, 0, second(0), pair=ETH)])  # equal in every column
    assert ask("FROM unsound_files") == []
    assert list(verify_tables.findings(archive.layout)) == []
    (path,) = archive.layout.files(Branch(QUOTES, ETH))
    moved = path.rename(archive.layout.files(Branch(QUOTES, BTC))[0].parent / path.name)
    assert ask("SELECT problem FROM unsound_files") == [("belongs in pair=ETH%2FEUR, and lies in pair=BTC%2FUSD",)]
    (finding,) = verify_tables.findings(archive.layout)
    assert finding.file == moved
    with connect(archive.data) as opened, pytest.raises(UnsoundFile, match="lies among quotes of BTC/USD"):
        opened.quotes(BTC)


def test_the_questions_by_name_have_the_rows_of_their_macros(archive: Written) -> None:
    archive.append(
        [trade(1, second(10), "101", "1"), sold(trade(2, second(20), "100", "3")), trade(3, second(50), "9")]
    )
    archive.quoted([quote(7, number, second(5 * number)) for number in range(8)], ended={(BTC, 7): second(40)})
    with connect(archive.data) as opened:

        def answer(name: str, **given: object) -> list[dict[str, object]]:
            question = catalogue.question(name)
            bound = question.bound({"pair": BTC, "width": "1 minute", **given})
            rows: list[dict[str, object]] = opened.sql(question.text, to="arrow", decimals=True, **bound).to_pylist()
            return rows

        (bar,) = answer("spread")
        assert (bar["mean_spread"], bar["quotes"], bar["known"]) == (D("1"), 8, 40 / 60)
        (flow,) = answer("quote_flow")
        assert (flow["imbalance"], flow["changes"], flow["unlinked"]) == (D("0"), 7, 1)
        (cost,) = answer("effective_spread")
        # of two trades both quotes are known: 2 * (101 - 100.5), and 2 * (100.5 - 100) of the three sold
        assert (cost["effective_spread"], cost["realised_spread"], cost["price_impact"]) == (1.0, 1.0, 0.0)
        assert (cost["trades"], cost["compared"]) == (3, 2)
        assert cost["effective_bps"] == pytest.approx(10_000 / 100.5)
        (none,) = answer("effective_spread", tolerance="1 second", start="2025-11-10T12:00:00Z")
        assert (none["effective_spread"], none["compared"]) == (None, 0)
