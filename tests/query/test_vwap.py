"""The vwap that candles() estimates with doubles and settles exactly, where doubles are most likely to be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


Case = tuple[Decimal, Decimal, int]
"""A sum of price times quantity, the volume, and the decimals of the price."""


def cut(engine: Engine, cases: Sequence[Case]) -> list[Decimal]:
    """Return the vwap of each case, of one query."""
    rows = ", ".join(
        f"({place}, {amount:f}, {volume:f}, {digits})" for place, (amount, volume, digits) in enumerate(cases)
    )
    text = f"""
        SELECT cut_vwap(amount::DECIMAL(38, 20), volume::DECIMAL(38, 8), digits) AS vwap
        FROM (VALUES {rows}) AS cases(place, amount, volume, digits)
        ORDER BY place
    """
    found: list[Decimal] = engine.fetch(text, exact=True)["vwap"].to_pylist()
    return found


def case(steps: int, digits: int, volume: Decimal, aside: int) -> Case:
    """Return the case whose quotient is so many steps of the price, with an amount a few of the LEAST away from it."""
    with localcontext(prec=60):
        return Decimal(steps).scaleb(-digits) * volume + aside * LEAST, volume, digits


HARD = [
    case(29, 2, Decimal("0.1"), 0),
    case(1_000_001, 1, Decimal("12345.67890123"), -1),
    case(99_999_999_999_999, 12, Decimal("99.00000001"), -1),
    case(123_456_789_012_345_671, 12, Decimal("99.00000001"), -1),
    case(123_456_789_012_345_677, 12, Decimal("99.00000007"), 0),
    case(100_000_000_000_001, 12, Decimal("99.00000001"), -1),
]
CASES = st.builds(
    case,
    steps=st.integers(1, 10**13),
    digits=st.integers(0, 12),
    volume=st.decimals("0.00000001", "99999999", places=8, allow_nan=False),
    aside=st.integers(-2, 2),
).filter(lambda one: 0 < one[0] < WIDEST)


@settings(max_examples=10, deadline=None)
@given(st.lists(CASES, min_size=30, max_size=40))
@example(HARD)
def test_it_is_right_a_hair_below_at_and_above_a_price(engine: Engine, cases: list[Case]) -> None:
    with localcontext(prec=60):
        whole = [
            Decimal(int(amount.scaleb(20)) * 10**digits // int(volume.scaleb(8) * 10**12)).scaleb(-digits)
            for amount, volume, digits in cases
        ]
    assert cut(engine, cases) == whole


def test_doubles_alone_would_be_wrong(engine: Engine) -> None:
    """For these the quotient of the doubles is a whole number of steps, and the truth is one less below it."""
    asked = [(digits, aside) for digits in (0, 2, 8, 12) for aside in (-1, 0, 1)]
    found = cut(engine, [case(7, digits, Decimal("12345.67890123"), aside) for digits, aside in asked])
    assert found == [Decimal(7 if aside >= 0 else 6).scaleb(-digits) for digits, aside in asked]
