"""The chart as people use it: in Chromium, with a mouse."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

import recorder
from recorder.core.evidence import Promise
from recorder.core.model import Event
from recorder.query import plots
from tests.archives import MINUTE_US, START_US, trade, writing
from tests.browser import Browser, Page

PAIR = "BTC/USD"
TRADES = 1200
STEP_US = 20_000_000
LOST = range(400, 431)
"""These ids are missing: nine minutes without a trade."""
FETCHED = range(800, 806)
CHART = "document.querySelector('[data-chart]').view"
SCALE = f"{CHART}.chart.timeScale()"
PAPER, DARK_PAPER, RISING = "#ffffff", "#10151c", "#1479b8"


@dataclass(frozen=True)
class Drawn:
    """An archive of seven hours, and the page of its candles; ``part`` is that of seventy minutes."""

    data: Path
    page: Path
    part: Path


def time_us(trade_id: int) -> int:
    return START_US + 7_000_000 + trade_id * STEP_US


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    folder = tmp_path_factory.mktemp("drawn")
    draw, price, rows = Random(5), 1000, []
    for trade_id in range(1, TRADES + 1):
        price += draw.randint(-9, 9)
        rows.append(trade(trade_id + 50, time_us(trade_id), f"{price}.{draw.randint(0, 9)}", f"0.{trade_id:08}"))
    with writing(folder / "data") as archive:
        archive.promises[PAIR] = Promise(START_US, 50)
        archive.append([row for row in rows if row.trade_id - 50 not in LOST])
        archive.noted(
            Event(START_US, "promised", PAIR, "{}"),
            Event(
                time_us(FETCHED.stop + 9),
                "hole_opened",
                PAIR,
                json.dumps({"first_id": FETCHED[0] + 50, "last_id": FETCHED[-1] + 50, "missing": len(FETCHED)})[:-1]
                + ',"after":"2025-11-10T16:26:47Z","before":"2025-11-10T16:28:47Z"}',
            ),
        )
        with recorder.connect(archive.data) as opened:
            plots.save(plots.candles(opened, PAIR, start="2025-11-10T11:40:00Z"), folder / "page.html")
            part = plots.candles(opened, PAIR, start="2025-11-10T14:40:00Z", stop="2025-11-10T15:50:00Z")
            plots.save(part, folder / "part.html")
    return Drawn(folder / "data", folder / "page.html", folder / "part.html")


@asynccontextmanager
async def shown(browser: Browser, path: Path, **look: Any) -> AsyncIterator[Page]:
    """Open a page with a chart, wait until it is drawn, and hold its console to silence."""
    async with browser.page(path.as_uri(), **look) as page:
        await page.drawn()
        yield page
        assert page.complaints == []


async def select(page: Page, timeframe: str) -> None:
    await page.evaluate(
        f"[...document.querySelectorAll('button')].find(one => one.textContent === '{timeframe}').click()"
    )
    await page.drawn()


async def bars(page: Page, timeframe: str) -> list[dict[str, Any]]:
    """Return the bars of a timeframe as the page made them."""
    await select(page, timeframe)
    found: list[dict[str, Any]] = await page.evaluate(
        f"{CHART}.bars.map(bar => ({{...bar, volume: String(bar.volume)}}))"
    )
    return found


async def visible(page: Page) -> tuple[float, float]:
    await page.drawn()
    seen = await page.evaluate(f"{SCALE}.getVisibleLogicalRange()")
    return seen["from"], seen["to"]


async def place(page: Page, slot: int) -> tuple[float, float]:
    """Return the point in the middle of the price pane at which a slot is, in the coordinates of the page."""
    found = await page.evaluate(
        f"(box => [box.left + {SCALE}.logicalToCoordinate({slot}), box.top + 100])"
        "(document.querySelector('.plot').getBoundingClientRect())"
    )
    return found[0], found[1]


async def test_longer_bars_are_those_of_the_archive(browser: Browser, drawn: Drawn) -> None:
    with recorder.connect(drawn.data) as archive:
        async with shown(browser, drawn.page) as page:
            timeframes = [name for name, _ in await page.evaluate(f"{CHART}._data.timeframes")]
            assert timeframes == ["1m", "5m", "15m", "30m", "1h", "4h"]
            states = set()
            for name in timeframes:
                made = await bars(page, name)
                built = archive.candles(PAIR, name, to="arrow", decimals=True, on_gap="ignore").to_pylist()
                assert [
                    (*(Decimal(bar[field]).scaleb(-1) for field in ("open", "high", "low", "close")), bar["count"])
                    for bar in made
                ] == [tuple(row[field] for field in ("open", "high", "low", "close", "count")) for row in built]
                assert [Decimal(bar["volume"]).scaleb(-8) for bar in made] == [row["volume"] for row in built]
                assert [bar["state"] == "complete" for bar in made] == [row["complete"] for row in built]
                states |= {bar["state"] for bar in made}
            assert states == {"begun", "complete", "incomplete", "unfinished"}


async def test_a_longer_bar_that_the_range_of_the_page_cuts_says_so(browser: Browser, drawn: Drawn) -> None:
    async with shown(browser, drawn.part) as page:
        assert [bar["state"] for bar in await bars(page, "30m")] == ["cut", "complete", "cut"]
        assert {bar["state"] for bar in await bars(page, "5m")} == {"complete"}


async def test_the_mouse_zooms_and_pans_and_the_buttons_change_the_timeframe(browser: Browser, drawn: Drawn) -> None:
    async with shown(browser, drawn.page) as page:
        middle = await place(page, 40)
        whole, first = await visible(page), await page.picture()
        await page.mouse("mouseWheel", *middle, deltaX=0, deltaY=-400)
        near, second = await visible(page), await page.picture()
        assert whole[0] < near[0] < 40 < near[1] < whole[1]
        await page.mouse("mouseMoved", *middle)
        await page.mouse("mousePressed", *middle, button="left", buttons=1, clickCount=1)
        for step in (10, 80, 150):
            await page.mouse("mouseMoved", middle[0] + step, middle[1], button="left", buttons=1)
        await page.mouse("mouseReleased", middle[0] + 150, middle[1], button="left", clickCount=1)
        moved, third = await visible(page), await page.picture()
        assert moved[0] < near[0] - 1
        assert moved[1] - moved[0] == pytest.approx(near[1] - near[0])
        assert len({first, second, third}) == 3
        await select(page, "Log")
        assert await page.picture() != third
        await select(page, "All")
        assert await visible(page) == pytest.approx(whole)


async def test_another_timeframe_shows_the_same_time(browser: Browser, drawn: Drawn) -> None:
    async with shown(browser, drawn.page) as page:
        await select(page, "5m")
        await page.evaluate(f"{SCALE}.setVisibleLogicalRange({{from: 19.5, to: 79.5}})")
        await page.drawn()
        await select(page, "15m")
        begin, end = await visible(page)
        # From 13:20 until 18:20, in slots of a quarter of an hour since 11:30, which are counted from their middle.
        assert (begin, end) == pytest.approx((22 / 3 - 0.5, 82 / 3 - 0.5))
        pressed = await page.evaluate(
            "[...document.querySelectorAll('[aria-pressed=true]')].map(one => one.textContent)"
        )
        assert pressed == ["15m"]


async def test_the_crosshair_tells_the_numbers_of_its_bar(browser: Browser, drawn: Drawn) -> None:
    with recorder.connect(drawn.data) as archive:
        rows = archive.candles(PAIR, "5m", to="arrow", decimals=True, on_gap="ignore").to_pylist()
    async with shown(browser, drawn.page) as page:
        await select(page, "5m")
        row = rows[10]
        await page.mouse("mouseMoved", *await place(page, 14))  # the page begins four bars before the recording
        await page.drawn()
        said = await page.evaluate("document.querySelector('.legend').innerText.replace(/\\s+/g, ' ')")
        prices = " ".join(f"{name[0].upper()} {row[name]:,.1f}" for name in ("open", "high", "low", "close"))
        volume = f"{row['volume']:f}".rstrip("0")
        assert said == f"{row['time']:%Y-%m-%d %H:%M} UTC {prices} V {volume} BTC {row['count']} trades"
        await select(page, "1m")
        slot = 20 + (time_us(415) - START_US) // MINUTE_US
        await page.evaluate(f"{SCALE}.setVisibleLogicalRange({{from: {slot - 30}, to: {slot + 30}}})")
        await page.drawn()
        await page.mouse("mouseMoved", *await place(page, slot))
        await page.drawn()
        said = await page.evaluate("document.querySelector('.legend').innerText.replace(/\\s+/g, ' ')")
        assert said == (
            "2025-11-10 14:18 UTC no trade gap 2025-11-10 14:13:07 to 2025-11-10 14:23:47: 31 trades missing"
        )


async def test_gaps_are_as_wide_as_they_were_long_and_before_the_recording_is_none(
    browser: Browser, drawn: Drawn
) -> None:
    async with shown(browser, drawn.page) as page:
        await select(page, "5m")
        spacing, width = await page.evaluate(f"[{SCALE}.options().barSpacing, {SCALE}.width()]")
        bands = await page.evaluate(f"{CHART}.places({width})")
        kinds = {band["span"]["kind"]: band for band in bands}
        assert set(kinds) == {"before", "missing", "repaired"}
        for kind, ids in (("missing", LOST), ("repaired", FETCHED)):
            seconds = (time_us(ids.stop) - time_us(ids[0] - 1)) / 1e6
            if kind == "repaired":
                seconds = 120
            assert kinds[kind]["right"] - kinds[kind]["left"] == pytest.approx(seconds / 300 * spacing, abs=0.02)
        box = await page.evaluate("document.querySelector('.plot').getBoundingClientRect().toJSON()")

        async def share_of_paper(x: float) -> float:
            strip = await page.colours(x=box["left"] + x, y=box["top"] + 150, width=1, height=120)
            return strip.get(PAPER, 0) / 120

        gap = kinds["missing"]
        middle = (gap["left"] + gap["right"]) / 2
        assert await share_of_paper(middle) < 0.05  # shaded, where there is no bar too
        assert await share_of_paper(kinds["before"]["right"] - 2 * spacing) < 0.05
        footer = await page.evaluate("document.querySelector('footer').innerText")
        assert "before the recording" in footer
        assert "TradingView Lightweight Charts™" in footer


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1920, 1080)])
async def test_it_fits_a_phone_and_a_wide_screen(browser: Browser, drawn: Drawn, width: int, height: int) -> None:
    async with shown(browser, drawn.page, width=width, height=height) as page:
        size = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        assert size == [width, height]
        edges = await page.evaluate(
            "[...document.querySelectorAll('header *, .legend *, .plot, footer *')]"
            ".map(one => one.getBoundingClientRect()).map(box => [box.left, box.right])"
        )
        assert all(0 <= left <= right <= width for left, right in edges)
        plot = await page.evaluate("document.querySelector('.plot').getBoundingClientRect().toJSON()")
        assert plot["width"] >= width - 40
        assert plot["height"] >= height / 2
        spacing = await page.evaluate(f"{SCALE}.options().barSpacing")
        assert 4 <= spacing <= 60


async def test_it_is_dark_where_the_system_is_and_changes_with_it(browser: Browser, drawn: Drawn) -> None:
    async with shown(browser, drawn.page) as page:
        part = {"x": 100, "y": 80, "width": 500, "height": 300}
        light = await page.colours(**part)
        await page("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        dark = await page.colours(**part)
        assert max(light, key=light.__getitem__) == PAPER
        assert max(dark, key=dark.__getitem__) == DARK_PAPER
        assert light[RISING] > 100
        assert RISING not in dark
        assert dark.get(PAPER, 0) < 50
