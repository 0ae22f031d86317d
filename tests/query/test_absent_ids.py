"""Ids that do not exist, or are disowned: what they change of bars, as any DuckDB client and recorder.connect() see
them. Nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.core import evidence
from recorder.core.evidence import Disowned, Knowledge, Reclaimed, Unreadable, Void
from recorder.core.model import Event
from recorder.core.trade_ids import Span
from recorder.errors import CorruptFile
from recorder.query.connect import connect
from tests.archives import START_US, Ask, Written, candle, silent, trade

HELD, VOID, OPEN = "held", "void", "open"
COLUMNS = "* EXCLUDE (pair, first_id, last_id)"
BARS = (
    f"SELECT {COLUMNS} FROM time_bars(?, '1 minute', filled := true)",
    f"SELECT {COLUMNS} FROM volume_bars(?, 3)",
    "SELECT * EXCLUDE (pair) FROM candles(?, '1m')",
    "FROM missing_between(?)",
)


def told(pair: str, ids: Iterable[int]) -> list[Event]:
    """Tell of ids that need not be held: even ones are disowned, after that was taken back, and odd ones are void."""
    events = []
    for trade_id in ids:
        known: list[Knowledge] = [Void(pair, Span(trade_id, trade_id))]
        if trade_id % 2 == 0:
            span = Span(trade_id, trade_id)
            known = [Disowned(pair, span, 3, "disowned"), Reclaimed(pair, span, 2), Disowned(pair, span, 1, "disowned")]
        events += [Event(START_US, evidence.kind(one), pair, json.dumps(evidence.detail(one))) for one in known]
    return events


def write(archive: Written, fates: list[str], *, doubted: Iterable[int] = ()) -> tuple[str, str]:
    """Archive a pair whose id ``n`` met ``fates[n - 1]``, and one with the same trades where void ids never were.

    Ids ``doubted`` are told to be void, whatever became of them since.
    """
    pair, other = f"{uuid.uuid4()}/USD", f"{uuid.uuid4()}/USD"
    archive.listed(pair, 1)
    archive.listed(other, 1)
    held = [number for number, fate in enumerate(fates, 1) if fate == HELD]
    void = [number for number, fate in enumerate(fates, 1) if fate == VOID]
    renumbered = {number: number - sum(one < number for one in void) for number in held}
    archive.append([trade(number, START_US + number * 25_000_000, pair=pair) for number in held])
    archive.append([trade(renumbered[number], START_US + number * 25_000_000, pair=other) for number in held])
    archive.noted(*told(pair, void), *told(pair, [number for number in doubted if number in held]))
    return pair, other


FATES = st.lists(st.sampled_from([HELD, HELD, VOID, OPEN]), min_size=1, max_size=24).filter(lambda fates: HELD in fates)


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FATES, st.sets(st.integers(1, 24)))
def test_bars_are_those_of_a_pair_in_which_the_void_ids_never_were(
    archive: Written, ask: Ask, fates: list[str], doubted: set[int]
) -> None:
    pair, other = write(archive, fates, doubted=doubted)
    for bars in BARS:
        assert ask(bars, pair) == ask(bars, other)
    size = 5
    held = [number for number, fate in enumerate(fates, 1) if fate == HELD]
    expected = []
    for first in range(1, len(fates) + 1, size):
        bar = range(first, first + size)
        if count := sum(n in held for n in bar):
            # What was never heard of is open.
            fate = {n: fates[n - 1] if n <= len(fates) else OPEN for n in bar}
            missing = sum(fate[n] == OPEN and held[0] < n < held[-1] for n in bar)
            expected.append((count, OPEN not in fate.values(), missing))
    assert ask("SELECT count, complete, missing_trades FROM tick_bars(?, ?)", pair, size) == expected


def test_connect_sees_the_same_for_one_pair_and_for_many(archive: Written) -> None:
    fates = [HELD] * 4 + [VOID] * 2 + [HELD] * 4 + [OPEN] + [HELD] * 4
    pair, other = write(archive, fates)
    with connect(archive.data) as opened:
        one, same = ([*opened.candles(name, "1m", on_gap="ignore")["complete"]] for name in (pair, other))
        assert one == same == [True] * 4 + [False] * 3
        both = opened.candles([pair, other], "1m", on_gap="ignore")
        assert [*both["complete"]] == one + same
        assert len(opened.trades(pair, stop="2025-11-10T12:04Z", on_gap="raise")) == 7
        found = opened.trades(pair, on_gap="ignore")
        assert found.attrs["missing"] == {pair: 1}


def test_connect_hears_of_void_ids_as_they_are_told_unless_it_is_frozen(archive: Written) -> None:
    pair, _ = write(archive, [HELD] * 4 + [OPEN] + [HELD] * 4)
    with connect(archive.data) as opened, connect(archive.data, frozen=True) as frozen:
        sides = (opened, frozen)
        assert [all(one.candles(pair, "1m", on_gap="ignore")["complete"][:-1]) for one in sides] == [False, False]
        archive.noted(*told(pair, [5]))
        assert [all(one.candles(pair, "1m", on_gap="ignore")["complete"][:-1]) for one in sides] == [True, False]
        frozen.refresh()
        assert len(frozen.candles(pair, "1m", on_gap="raise")) == len(opened.candles(pair, "1m", on_gap="raise"))


def test_void_ids_that_cannot_be_read_stop_only_who_needs_them(archive: Written) -> None:
    pair, _ = write(archive, [HELD] * 4 + [VOID] + [HELD] * 4)
    broken = archive.data / "events" / "year=2025" / "broken.parquet"
    with connect(archive.data) as opened:
        assert all(opened.candles(pair, "1m")["complete"][:-1])
        broken.write_bytes(b"not Parquet")
        assert len(opened.sql("FROM pair_trades($pair)", pair=pair)) == 8
        with pytest.raises(CorruptFile, match="broken"):
            opened.candles(pair, "1m", on_gap="ignore")
        broken.unlink()
        assert all(opened.candles(pair, "1m")["complete"][:-1])


def test_candles_are_filled_and_audited_across_void_ids(archive: Written, ask: Ask) -> None:
    pair, _ = write(archive, [HELD] * 2 + [VOID] * 5 + [HELD] * 4)
    archive.published([candle(0, pair=pair), silent(4, "100", pair=pair)])
    filled = ask("SELECT epoch_us(time) // 60000000 - ?, count FROM ohlc_filled ORDER BY 1", START_US // 60_000_000)
    assert filled == [(0, 1), (1, 0), (2, 0), (3, 2), (4, 0)]
    audit = ask("SELECT verdict, complete FROM candle_audit(?, '1m') ORDER BY time", pair)
    assert [complete for _, complete in audit] == [True, True, True, True, False]


@pytest.mark.parametrize("below", [VOID, OPEN])
def test_a_pair_of_which_all_before_the_first_id_is_void_begins_there(archive: Written, ask: Ask, below: str) -> None:
    pair, _ = write(archive, [below] * 2 + [HELD] * 4)
    complete = ask("SELECT complete FROM candles(?, '1m')", pair)
    assert complete == [(below == VOID,), (False,)]


def test_an_unreadable_id_is_a_trade_that_is_missing(archive: Written, ask: Ask) -> None:
    pair = f"{uuid.uuid4()}/USD"
    archive.listed(pair, 1)
    archive.append([trade(number, START_US + number * 25_000_000, pair=pair) for number in (1, 2, 4, 5, 9, 10)])
    odd = Unreadable(pair, Span(3, 3))
    archive.noted(Event(START_US, evidence.kind(odd), pair, json.dumps(evidence.detail(odd))), *told(pair, [7]))
    found = ask("SELECT first_id, last_id, state FROM gaps WHERE pair = ? ORDER BY first_id", pair)
    assert found == [(3, 3, "unreadable"), (6, 6, "open"), (7, 7, "void"), (8, 8, "open")]
    assert ask("SELECT complete, missing_trades FROM tick_bars(?, 5) ORDER BY time LIMIT 1", pair) == [(False, 1)]
    status = ask("SELECT status, missing, unreadable FROM certificates WHERE pair = ? ORDER BY day LIMIT 1", pair)
    assert status == [("open", 2, 1)]


def test_an_id_that_is_disowned_no_more_is_missing_again(archive: Written, ask: Ask) -> None:
    pair, _ = write(archive, [HELD] * 2 + [OPEN] * 4 + [HELD] * 4)
    claims: list[Knowledge] = [Disowned(pair, Span(3, 6), 5, "disowned"), Reclaimed(pair, Span(4, 4), 6)]
    archive.noted(*(Event(START_US, evidence.kind(one), pair, json.dumps(evidence.detail(one))) for one in claims))
    assert ask("SELECT first_id, last_id, state FROM gaps WHERE pair = ? ORDER BY first_id", pair) == [
        (3, 3, "disowned"),
        (4, 4, "open"),
        (5, 6, "disowned"),
    ]


def test_disowned_ids_that_are_journalled_again_are_not_in_the_tail(archive: Written) -> None:
    pair, _ = write(archive, [HELD] * 4)
    archive.noted(*told(pair, [6, 8]))
    archive.journalled([trade(number, pair=pair) for number in range(4, 10)])
    archive.journalled([trade(number, pair="NEW/USD") for number in (1, 2)])
    with connect(archive.data, live=True) as opened:
        assert [*opened.trades(pair, on_gap="ignore")["trade_id"]] == [1, 2, 3, 4, 5, 7, 9]
        assert len(opened.trades("NEW/USD")) == 2
