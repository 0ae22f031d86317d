from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import Trade
from recorder.core.trade_ids import Span
from recorder.errors import DiskError, UsageError
from recorder.sandbox.ground_truth import EXAMPLES, Truth, TruthFile, compare, expected_us, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.tape import NewTrades

START_NS = 1_783_465_200_000_000_000


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    market = Market(start_ns=START_NS, history={"BTC/USD": 200, "MOG/USD": 100})
    path = tmp_path_factory.mktemp("truth") / "truth.jsonl"
    file = TruthFile(path)
    spans = {symbol: tape.span for symbol, tape in market.tapes.items()}
    file.write(market.tapes, [NewTrades(symbol, span) for symbol, span in spans.items() if span is not None])
    file.close()
    return read_truth(path)


def archived(truth: Truth, pair: str = "BTC/USD", *, source: str = "ws") -> list[Trade]:
    return [
        Trade(
            pair=pair,
            trade_id=true.trade_id,
            time_us=expected_us(true.time_ns, source=source),
            price=Decimal(true.price).quantize(Decimal("1e-12")),
            qty=Decimal(true.qty).quantize(Decimal("1e-8")),
            side="buy" if true.side == "buy" else "sell",
            ord_type=true.ord_type,
            misc="",
            source="ws" if source == "ws" else "rest",
            received_us=None,
        )
        for true in truth[pair].values()
    ]


def changed(row: Trade, **values: object) -> Trade:
    return Trade(**({name: getattr(row, name) for name in Trade.__struct_fields__} | values))


@pytest.mark.parametrize("source", ["ws", "rest"])
def test_an_archive_that_holds_what_was_made_is_perfect(truth: Truth, source: str) -> None:
    rows = archived(truth, source=source) + archived(truth, "MOG/USD", source=source)
    verdict = compare(reversed(rows), truth)
    assert verdict.perfect
    assert str(verdict) == "300 rows: 0 lost, 0 duplicated, 0 altered"


def test_an_archive_without_rows_is_not_perfect(truth: Truth) -> None:
    assert not compare([], truth).perfect


@given(gone=st.sets(st.integers(2, 200), min_size=1), twice=st.lists(st.integers(0, 199), max_size=5))
def test_every_lost_id_and_every_row_too_many_is_counted(truth: Truth, gone: set[int], twice: list[int]) -> None:
    rows = archived(truth)
    kept = [row for row in rows if row.trade_id not in gone]
    repeated = [rows[index] for index in twice if rows[index].trade_id not in gone]
    verdict = compare(kept + repeated, truth)
    assert (verdict.lost, verdict.duplicated, verdict.altered) == (len(gone), len(repeated), 0)
    assert not verdict.perfect


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"price": Decimal(1)}, "has price 1 instead of"),
        ({"qty": Decimal("0.00000001")}, "has qty 1E-8 instead of"),
        ({"side": "none"}, "has side none instead of"),
        ({"ord_type": "stop"}, "has ord_type stop instead of"),
        ({"misc": "x"}, "has misc x instead of"),
        ({"time_us": 5}, "has time_us 5 instead of"),
        ({"trade_id": 201}, "BTC/USD 201 was never made"),
        ({"pair": "NO/PE"}, "NO/PE 200 was never made"),
    ],
)
def test_every_field_is_compared_and_the_verdict_says_what_is_wrong(
    truth: Truth, values: dict[str, object], sentence: str
) -> None:
    rows = archived(truth)
    verdict = compare([*rows[:-1], changed(rows[-1], **values)], truth)
    assert verdict.altered == 1
    assert any(sentence in example for example in verdict.examples)


def test_a_rest_time_under_the_name_of_the_socket_is_an_alteration(truth: Truth) -> None:
    rows = archived(truth, source="rest")
    differing = [row for row in rows if row.time_us != truth["BTC/USD"][row.trade_id].time_ns // 1000]
    assert differing
    relabelled = [changed(row, source="ws") for row in rows]
    assert compare(relabelled, truth).altered == len(differing)


def test_the_range_begins_with_the_first_id_archived_unless_told(truth: Truth) -> None:
    rows = archived(truth)[50:]
    assert compare(rows, truth).perfect
    assert compare(rows, truth, first_ids={"BTC/USD": 41}).lost == 10


def test_the_range_ends_with_the_last_id_made_unless_told(truth: Truth) -> None:
    rows = archived(truth)[:150]
    assert compare(rows, truth).lost == 50
    assert compare(rows, truth, last_ids={"BTC/USD": 150}).perfect
    assert compare(rows, truth, last_ids={"BTC/USD": 120}).perfect


def test_a_pair_without_any_row_is_missed_only_if_it_is_expected(truth: Truth) -> None:
    rows = archived(truth)
    assert compare(rows, truth).lost == 0
    assert compare(rows, truth, pairs=["MOG/USD"]).lost == 100
    assert compare(rows, truth, first_ids={"MOG/USD": 91}).lost == 10
    with pytest.raises(UsageError, match=r"holds no trade of NO/PE; it knows BTC/USD, MOG/USD"):
        compare(rows, truth, pairs=["NO/PE"])


def test_a_verdict_carries_only_a_few_examples(truth: Truth) -> None:
    rows = archived(truth)
    assert len(compare(rows + rows, truth).examples) == EXAMPLES


def test_the_truth_can_be_read_while_it_is_written_without_its_torn_last_line(tmp_path: Path) -> None:
    market = Market(start_ns=START_NS, history={"BTC/USD": 2})
    path = tmp_path / "truth.jsonl"
    file = TruthFile(path)
    assert read_truth(path) == {}
    file.write(market.tapes, [NewTrades("BTC/USD", Span(1, 2))])
    assert list(read_truth(path)["BTC/USD"]) == [1, 2]
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    assert list(read_truth(path)["BTC/USD"]) == [1]
    file.close()


def test_the_texts_of_the_truth_are_exact_and_canonical(truth: Truth) -> None:
    for pair, trades in truth.items():
        tape = Market(start_ns=START_NS, history={"BTC/USD": 200, "MOG/USD": 100}).tapes[pair]
        for (_, time_ns, price, qty, _), true in zip(tape.rows(Span(1, len(trades))), trades.values(), strict=True):
            assert Decimal(true.price) == Decimal(price).scaleb(-tape.price_digits)
            assert Decimal(true.qty) == Decimal(qty).scaleb(-tape.qty_digits)
            assert true.time_ns == time_ns
            assert "E" not in true.price + true.qty
            assert not (true.price.endswith("0") and "." in true.price)


def test_a_truth_that_cannot_be_created_says_so(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot create the truth file"):
        TruthFile(tmp_path / "absent" / "truth.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_an_error_not_a_shorter_truth() -> None:
    market = Market(start_ns=START_NS, history={"BTC/USD": 2})
    file = TruthFile(Path("/dev/full"))
    with pytest.raises(DiskError, match=r"cannot write the truth file .*: No space left"):
        file.write(market.tapes, [NewTrades("BTC/USD", Span(1, 2))])
    with pytest.raises(DiskError, match="No space left"):
        file.close()


def test_ids_that_never_existed_are_not_lost(tmp_path: Path) -> None:
    market = Market(start_ns=START_NS, history={"BTC/USD": 10}, first_id=3)
    tape = market.tapes["BTC/USD"]
    tape.skip(5)
    market.burst("BTC/USD", 4, START_NS)
    file = TruthFile(tmp_path / "truth.jsonl")
    file.write(market.tapes, [NewTrades("BTC/USD", Span(3, tape.last_id))])
    file.close()
    made = read_truth(tmp_path / "truth.jsonl")
    assert list(made["BTC/USD"]) == [*range(3, 13), *range(18, 22)]
    rows = archived(made)
    assert compare(rows, made, first_ids={"BTC/USD": 1}).perfect
    assert compare([*rows[:9], *rows[12:]], made).lost == 3
