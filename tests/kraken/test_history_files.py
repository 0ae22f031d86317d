"""Layouts, lines and names of Kraken's history files."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import Trade
from recorder.errors import UsageError
from recorder.kraken.history_files import (
    HEADER,
    Detected,
    Layout,
    MemberName,
    NameBook,
    OddLine,
    detect,
    member_name,
    names_given,
    splits,
    text_lines,
    trade_of,
    unknown_layout,
)
from tests.recorded_data import real

NEW = "90250.10000,0.00012000,1767225600.123456,b,l,,91234567"
CLASSIC = "1672531436,90.540000,1.10448420"
OHLCVT = "1378856831,97.0,99.9,96.75,97.0,1620.6707044300001,7"
NAMES = "Price,Volume,Timestamp,Type,Miscellaneous,Trade ID"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([NEW], Detected(Layout.TRADES)),
        ([NAMES, NEW], Detected(Layout.TRADES, header=True)),
        ([NAMES.upper().replace(",", ", "), NEW, NEW], Detected(Layout.TRADES, header=True)),
        ([",".join(f'"{name}"' for name in NAMES.split(",")), NEW], Detected(Layout.TRADES, header=True)),
        (["1,2,1767225600,s,m,,1"], Detected(Layout.TRADES)),
        (["1e-05,.5,1767225600.5,s,x,y z,1"], Detected(Layout.TRADES)),
        ([CLASSIC], Detected(Layout.CLASSIC)),
        (["7,", CLASSIC, CLASSIC], Detected(Layout.CLASSIC)),
        (["1767225600", NEW], Detected(Layout.TRADES)),
        ([OHLCVT], Detected(Layout.OHLCVT)),
        ([OHLCVT.replace("1620.6707044300001", "4.2e-07")], Detected(Layout.OHLCVT)),
        ([], None),
        ([NAMES], None),
        ([NAMES, CLASSIC], None),
        ([NAMES, "?", NEW, "?"], None),
        ([NEW, CLASSIC], None),
        ([CLASSIC, OHLCVT], None),
        (["Price,Volume", NEW], Detected(Layout.TRADES)),
        (["90250.1,0.1,1767225600.1,b,91234567"], None),
        (["time,price,volume", "1672531436,x,1"], None),
        (["90250.1,0.1,1767225600.1,b,l,91234567,"], None),
    ],
)
def test_a_layout_is_recognised_by_its_lines(lines: list[str], found: Detected | None) -> None:
    assert detect(lines) == found


@pytest.mark.parametrize(("folder", "layout"), [("time_and_sales", Layout.CLASSIC), ("ohlcvt", Layout.OHLCVT)])
def test_real_files_are_recognised_from_their_beginning_and_from_any_line(folder: str, layout: Layout) -> None:
    samples = sorted(real(folder).glob("*.csv"))
    assert samples
    for sample in samples:
        lines = text_lines(sample.read_bytes())
        assert detect(lines) == Detected(layout)
        assert {detect([line]) for line in lines} == {Detected(layout)}, sample.name


def test_lines_come_without_their_ends_and_the_mark_of_the_byte_order() -> None:
    assert text_lines(b"\xef\xbb\xbfa,b\r\n\r\n\nc\xff\r\nd\re") == ["a,b", "c\ufffd", "d", "e"]
    assert text_lines(b"") == []


def test_a_refused_member_is_named_with_the_lines_seen() -> None:
    said = unknown_layout("X.csv", ["a,b", "c" * 200, "d", "e"])
    assert "X.csv" in said
    assert "'a,b'" in said
    assert "'d'" in said
    assert "'e'" not in said
    assert len(said) < 500
    assert "no lines" in unknown_layout("X.csv", [])


def test_a_row_is_read_exactly() -> None:
    assert trade_of(NEW, "BTC/USD") == Trade(
        "BTC/USD",
        91234567,
        1_767_225_600_123_456,
        Decimal("90250.10000"),
        Decimal("0.00012000"),
        "buy",
        "limit",
        "",
        "bulk",
        None,
    )
    odd = trade_of("1e-05,.5,1767225600.1234567,s,x,y z,1", "A/B")
    assert (odd.price, odd.qty, odd.time_us) == (Decimal("0.00001"), Decimal("0.5"), 1_767_225_600_123_456)
    assert (odd.side, odd.ord_type, odd.misc) == ("sell", "x", "y z")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3", "3 fields"),
        (NEW + ",", "8 fields"),
        (NEW.replace(",b,", ",B,"), "no side"),
        (NEW.replace("90250.10000", ""), "no number"),
        (NEW.replace("90250.10000", "nan"), "no number"),
        (NEW.replace("90250.10000", "1_0"), "no number"),
        (NEW.replace("90250.10000", "-1"), "below zero"),
        (NEW.replace("90250.10000", "1e999999999999999999999"), "held"),
        (NEW.replace("90250.10000", "0.0000000000001"), "does not fit"),
        (NEW.replace("0.00012000", "0.000000001"), "does not fit"),
        (NEW.replace("91234567", "0"), "no trade id"),
        (NEW.replace("91234567", "1.5"), "no trade id"),
        (NEW.replace("91234567", "1" + "0" * 18), "no trade id"),
        (NEW.replace("1767225600.123456", "-1"), "no time"),
        (NEW.replace("1767225600.123456", "253402300800"), "no time"),
    ],
)
def test_a_line_that_is_no_row_is_odd(line: str, said: str) -> None:
    with pytest.raises(OddLine, match=said):
        trade_of(line, "BTC/USD")


@given(
    price=st.decimals(0, 10**15, places=12),
    qty=st.decimals(0, 10**12, places=8),
    time_us=st.integers(10**15, 2 * 10**15),
    trade_id=st.integers(1, 10**18 - 1),
)
def test_what_is_printed_is_what_is_read(price: Decimal, qty: Decimal, time_us: int, trade_id: int) -> None:
    seconds, us = divmod(time_us, 10**6)
    line = f"{price:f},{qty:f},{seconds}.{us:06d},s,m,,{trade_id}"
    assert detect([line]) == Detected(Layout.TRADES)
    row = trade_of(line, "A/B")
    assert (row.price, row.qty, row.time_us, row.trade_id) == (price, qty, time_us, trade_id)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("XBTUSD.csv", MemberName("XBTUSD")),
        ("TimeAndSales_Combined/XBTUSD.csv", MemberName("XBTUSD")),
        ("a\\b\\XDGEUR_1440.csv", MemberName("XDGEUR", 1440)),
        ("1INCHUSD_5.CSV", MemberName("1INCHUSD", 5)),
        ("AAPLxUSD.csv", MemberName("AAPLxUSD")),
        ("ETH2.SETH.csv", MemberName("ETH2.SETH")),
        ("__MACOSX/XBTUSD.csv", None),
        ("q/__MACOSX/._XBTUSD.csv", None),
        ("._XBTUSD.csv", None),
        (".DS_Store", None),
        ("folder/", None),
        ("readme.txt", None),
        ("XBT USD.csv", None),
    ],
)
def test_the_base_name_of_a_member_says_its_pair(path: str, name: MemberName | None) -> None:
    assert member_name(path) == name


def test_names_are_looked_up_before_they_are_split() -> None:
    assets = {"XBT", "USD", "ETH", "PYUSD", "MONA", "MON", "AUSD", "XDG"}
    book = NameBook({"XBTUSD": "BTC/USD"}, assets, {"MONAUSD": "MON/AUSD"})
    assert book.pair_of("XBTUSD") == ("BTC/USD", False)
    assert book.pair_of("MONAUSD") == ("MON/AUSD", False)
    assert book.pair_of("ETHPYUSD") == ("ETH/PYUSD", True)
    assert book.pair_of("XDGXBT") == ("DOGE/BTC", True)
    with pytest.raises(UsageError, match=r"MON/AUSD or MONA/USD.*--as MONAUSD="):
        NameBook({}, assets, {}).pair_of("MONAUSD")
    with pytest.raises(UsageError, match="no two known assets"):
        book.pair_of("FOOBAR")


@given(st.sets(st.text("ABC", min_size=1, max_size=3), min_size=1, max_size=6), st.data())
def test_every_split_of_a_name_is_found(assets: set[str], data: st.DataObject) -> None:
    base, quote = (data.draw(st.sampled_from(sorted(assets))) for _ in range(2))
    found = splits(base + quote, assets)
    assert f"{base}/{quote}" in found
    assert {pair.replace("/", "") for pair in found} == {base + quote}
    assert all(leg in assets for pair in found for leg in pair.split("/"))


def test_names_can_be_said() -> None:
    assert dict(names_given(["XBTUSD=XBT/USD", "FOOBAR=FOO/BAR"])) == {"XBTUSD": "BTC/USD", "FOOBAR": "FOO/BAR"}
    for wrong in ("XBTUSD", "=BTC/USD", "XBTUSD=BTC", "XBTUSD=/USD", "XBTUSD=A/B/C"):
        with pytest.raises(UsageError, match="--as XBTUSD=BTC/USD"):
            list(names_given([wrong]))


def test_the_header_is_kept_as_kraken_names_it() -> None:
    assert NAMES.lower() == HEADER
