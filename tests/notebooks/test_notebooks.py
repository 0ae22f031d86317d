"""The notebooks run as they stand, on a sandbox archive that is made on the spot."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import recorder
from recorder.core.evidence import Promise
from recorder.core.model import Candle, Trade
from tests.archives import MINUTE_US, START_US, candle, sold, trade, writing
from tests.browser import FOUND, Browser, tinted

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"
DATA_LINE = 'DATA = "../data"  # the one line to change: the folder of your archive'
LONGEST_S = 120
"""For one cell on a busy machine; it takes a few seconds at most."""
RISING, FALLING, COMPLETE = "#1479b8", "#d9541e", "#2f9e7f"
LINE = "#4c78a8"
"""Altair's own."""
Drawn = Callable[..., Awaitable[None]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the last two days and a half. That the notebooks record one themselves, the quickstart shows."""
    chance, begin_us = Random(1), time.time_ns() // 60_000_000_000 * MINUTE_US - 3600 * MINUTE_US
    with writing(tmp_path_factory.mktemp("notebooks") / "data") as archive:
        for pair in ("BTC/USD", "DOGE/USD", "ETH/EUR"):
            price, rows = Decimal(1000), []
            for number in range(1, 4001):
                price += chance.randint(-9, 9)
                moment_us = begin_us + number * 53_000_000 + chance.randint(0, 50_000_000)
                one = trade(number, moment_us, str(price), f"0.{chance.randint(1, 999):03}", pair=pair)
                rows.append(one if chance.random() < 0.5 else sold(one))
            archive.promises[pair] = Promise(begin_us, 0)
            archive.append(rows)
            archive.listed(pair, 1, datetime.fromtimestamp(begin_us / 1_000_000, UTC))
            alone = Counter(map(minute_of, rows[3000:3100]))
            archive.published([as_candle(one) for one in rows[3001:3099] if alone[minute_of(one)] == 1])
    return archive.data


def minute_of(one: Trade) -> int:
    return (one.time_us - START_US) // MINUTE_US


def as_candle(one: Trade) -> Candle:
    """Return the candle of a minute with this trade alone."""
    return candle(minute_of(one), *[str(one.price)] * 5, str(one.qty), 1, pair=one.pair)


def load(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # the library has no types


def execute(name: str, data: Path) -> str:
    """Run all cells with ``data`` for the folder; return what they showed, as text."""
    notebook = load(NOTEBOOKS / f"{name}.ipynb")
    (cell,) = [cell for cell in notebook.cells if DATA_LINE in cell.source]
    cell.source = cell.source.replace(DATA_LINE, f"DATA = {str(data)!r}")
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(notebook, timeout=LONGEST_S, kernel_name="python3", resources=resources).execute(
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(part for output in outputs for part in output.get("data", {}).values() if isinstance(part, str))


@pytest.fixture
def drawn(request: pytest.FixtureRequest, tmp_path: Path) -> Drawn:
    """Hold a notebook, as it is exported to HTML, to charts with at least so many pixels of some colours, in order."""
    if FOUND is None:  # which other tests report
        return _nothing
    browser: Browser = request.getfixturevalue("browser")

    async def look(shown: str, *wanted: tuple[Any, ...]) -> None:
        frames = re.findall(r"<iframe .*?</iframe>", shown, re.DOTALL)
        path = tmp_path / "exported.html"
        path.write_text(f"<!doctype html><meta charset=utf-8><body>{'<p>'.join(frames)}", encoding="utf-8")
        async with browser.page(path.as_uri(), height=1600) as page:
            places = await page.evaluate(
                "[...document.querySelectorAll('iframe')].map(frame => frame.getBoundingClientRect())"
                ".map(({x, y, width, height}) => ({x, y, width, height}))"
            )
            assert places[-1]["y"] + places[-1]["height"] <= 1600
            for place, (*colours, least) in zip(places, wanted, strict=True):
                patience = time.monotonic() + LONGEST_S  # a frame draws in its own time
                while tinted(counted := await page.colours(**place), *colours) < least:
                    assert time.monotonic() < patience, counted
                    await asyncio.sleep(0.05)
            assert page.complaints == []

    return look


async def _nothing(shown: str, *wanted: tuple[Any, ...]) -> None:
    """Look at nothing."""


async def test_quickstart_gets_from_nothing_to_two_charts(tmp_path: Path, drawn: Drawn) -> None:
    shown = execute("quickstart", tmp_path / "data")
    assert "first_id" in shown
    assert 'src="http' not in shown
    await drawn(shown, (RISING, FALLING, 100), (RISING, 1000))


async def test_data_quality_computes_a_certificate_again(recorded: Path, drawn: Drawn) -> None:
    shown = execute("data_quality", recorded)
    await drawn(shown, (COMPLETE, 1000))
    with recorder.connect(recorded) as archive:
        certified = archive.certificates(hashed=True, to="arrow").to_pylist()
    last = [row["sha256"] for row in certified if row["pair"] == "BTC/USD"][-1]
    assert shown.count(last) == 2
    assert "equal" in shown


async def test_research_compares_the_pairs(recorded: Path, drawn: Drawn) -> None:
    shown = execute("research", recorded)
    await drawn(shown, (LINE, 50), (LINE, 50))
    assert "parkinson" in shown
    assert "imbalance" in shown
    assert "DOGE/USD" in shown


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_output_is_committed(path: Path) -> None:
    notebook = load(path)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
