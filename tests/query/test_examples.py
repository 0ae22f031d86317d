"""The examples in the docstrings of what users call run as tests, on an archive as small as they are."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from types import ModuleType

import pandas as pd
import pytest

import recorder
from recorder.core.model import Event
from recorder.query import (
    arguments,
    dataframes,
    decimal_to_double,
    gap_rows,
    id_runs,
    matrix,
    named_parameters,
    pair_aliases,
    provenance,
    recorded_books,
    recorded_quotes,
)
from recorder.query import connect as public
from tests.archives import START_US, candle, quote, small_book, trade, writing

MODULES = [
    recorder,
    public,
    arguments,
    provenance,
    recorded_books,
    recorded_quotes,
    decimal_to_double,
    dataframes,
    gap_rows,
    id_runs,
    matrix,
    named_parameters,
    pair_aliases,
]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """What the examples may use: an open archive, and where it is."""
    data = tmp_path_factory.mktemp("examples") / "data"
    with writing(data) as archive:
        archive.append([trade(number, price=price) for number, price in ((1, "101"), (2, "102"), (3, "100"))])
        archive.append([trade(1, price="5", pair="ETH/USD")])
        archive.listed("BTC/USD", 1)
        archive.published([candle(0, "101", "102", "100", "100", "101", "3", 3)])
        archive.quoted([quote(1, 0, START_US), quote(1, 1, START_US + 1_000_000, "100.5")])
        archive.booked(small_book())
        archive.noted(Event(START_US, "connected", None, '{"connection":1}'))
    with (
        pytest.MonkeyPatch.context() as patched,
        recorder.connect(data) as opened,
        pd.option_context("display.width", 120, "display.max_columns", 20),
    ):
        patched.chdir(data.parent)
        yield {"archive": opened, "data": data}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_of_a_module_hold(module: ModuleType, names: dict[str, object]) -> None:
    results = doctest.testmod(module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
    assert results.attempted > 0


def test_every_public_call_has_an_example() -> None:
    calls = [name for name in vars(public.Archive) if not name.startswith("_") and name != "close"]
    assert len(calls) > 10
    without = [name for name in calls if ">>>" not in (getattr(public.Archive, name).__doc__ or "")]
    assert without == []
