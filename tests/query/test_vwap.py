"""The vwap that candles() estimates with doubles and settles exactly, where doubles are most likely to be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, localcontext

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recorder.query.engine import Engine
from recorder.query.snapshot import Snapshots
from tests.archives import writing

LEAST = Decimal("1e-20")
"""The smallest step of a sum of price times quantity."""
WIDEST = Decimal(999999999999999999)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with writing(tmp_path_factory.mktemp("vwap") / "data") as archive:
        opened = Engine(archive.data)
        opened.pin(Snapshots(archive.data, live=False).take())
        yield opened
        opened.close()


def cut(engine: Engine, amount: Decimal, volume: Decimal, digits: int) -> Decimal:
    numbers = f"{amount:f}::DECIMAL(38, 20), {volume:f}::DECIMAL(38, 8)"
    text = f"SELECT cut_vwap({numbers}, digits) AS vwap FROM (SELECT {digits} AS digits)"
    found: Decimal = engine.fetch(text, exact=True)["vwap"][0].as_py()
    return found


@settings(max_examples=300, deadline=None)
@given(
    steps=st.integers(1, 10**13),
    digits=st.integers(0, 12),
    volume=st.decimals("0.00000001", "99999999", places=8, allow_nan=False),
    aside=st.integers(-2, 2),
)
@example(steps=29, digits=2, volume=Decimal("0.1"), aside=0)
@example(steps=1_000_001, digits=1, volume=Decimal("12345.67890123"), aside=-1)
@example(steps=99_999_999_999_999, digits=12, volume=Decimal("99.00000001"), aside=-1)
@example(steps=123_456_789_012_345_671, digits=12, volume=Decimal("99.00000001"), aside=-1)
@example(steps=123_456_789_012_345_677, digits=12, volume=Decimal("99.00000007"), aside=0)
@example(steps=100_000_000_000_001, digits=12, volume=Decimal("99.00000001"), aside=-1)
def test_it_is_right_a_hair_below_at_and_above_a_price(
    engine: Engine, steps: int, digits: int, volume: Decimal, aside: int
) -> None:
    with localcontext(prec=60):
        amount = Decimal(steps).scaleb(-digits) * volume + aside * LEAST
        if not 0 < amount < WIDEST:
            return
        whole = int(amount.scaleb(20)) * 10**digits // int(volume.scaleb(8) * 10**12)
        assert cut(engine, amount, volume, digits) == Decimal(whole).scaleb(-digits)


@pytest.mark.parametrize("aside", [-1, 0, 1])
@pytest.mark.parametrize("digits", [0, 2, 8, 12])
def test_doubles_alone_would_be_wrong(engine: Engine, digits: int, aside: int) -> None:
    """For these the quotient of the doubles is a whole number of steps, and the truth is one less below it."""
    volume, price = Decimal("12345.67890123"), Decimal(7).scaleb(-digits)
    amount = price * volume + aside * LEAST
    expected = price if aside >= 0 else price - Decimal(1).scaleb(-digits)
    assert cut(engine, amount, volume, digits) == expected
