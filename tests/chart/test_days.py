"""The chart of days: its data, and what one sees of it."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.chart.days import STATUSES, Cell, DayChart
from recorder.chart.page import day_page, frame
from tests.browser import Browser, Page

FIRST = date(2023, 11, 6)
STATUS = list(STATUSES)
NAMED = "</script><script>alert(1)</script><!--\u2028\x1b[31m\u202e/USD"
COLOURS = {"complete": "#2f9e7f", "open": "#d9541e", "rising": "#1479b8", "unknown": "#c46aa3"}


def chart(days: int, *pairs: str, volume: bool = False) -> DayChart:
    """Return days of these pairs: the third of each is open, and each has traded 1.5 times its number."""
    cells = [
        Cell(
            FIRST + timedelta(days=number),
            FIRST + timedelta(days=number + 1),
            "open" if number == 2 else "complete",
            int(number == 2),
            1000 + number,
            7 if number == 2 else 0,
            Decimal("1.50000000") * (number + 1) if volume else None,
        )
        for number in range(days)
    ]
    return DayChart("Volume" if volume else "Coverage", ["a note"], "day", dict.fromkeys(pairs, cells))


def test_cells_are_days_since_1970_and_volumes_exact_texts() -> None:
    data = chart(3, "BTC/USD", volume=True).data()
    first = (FIRST - date(1970, 1, 1)).days
    assert (data["kind"], data["from"], data["until"]) == ("volume", first, first + 3)
    (pair,) = data["pairs"]
    assert (pair["name"], pair["base"]) == ("BTC/USD", "BTC")
    assert pair["cells"][2] == [first + 2, first + 3, STATUS.index("open"), 1, 1002, "4.50000000", 7]
    assert chart(3, "BTC/USD").data()["pairs"][0]["cells"][0][5] is None


def test_the_largest_calendar_is_below_2_mb() -> None:
    full = chart(333, *(f"COIN{number}/USD" for number in range(100)))
    assert len(day_page(full).encode()) < 2_000_000


def test_what_is_in_a_name_does_not_run() -> None:
    made, usual = day_page(chart(3, NAMED)), day_page(chart(3, "BTC/USD"))
    assert "alert(1)" in made
    for harm in ("<script", "</script", "<!--", "\u2028", "\x1b", "\u202e"):
        assert made.count(harm) == usual.count(harm), harm
    assert "<script" not in frame(made)


async def row(page: Page, number: int) -> dict[str, float]:
    place: dict[str, float] = await page.evaluate(
        f"document.querySelector('canvas[data-row=\"{number}\"]').getBoundingClientRect().toJSON()"
    )
    return place


@pytest.mark.parametrize(("days", "width"), [(1, 390), (300, 1920)])
async def test_days_fill_the_width_of_a_phone_and_of_a_wide_screen(
    browser: Browser, tmp_path: Path, days: int, width: int
) -> None:
    path = tmp_path / "page.html"
    path.write_text(day_page(chart(days, "BTC/USD", "ETH/EUR")), encoding="utf-8")
    async with browser.page(path.as_uri(), width=width) as page:
        await page.drawn()
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        place = await row(page, 1)
        assert place["width"] > 0.7 * width
        assert width - place["right"] < 20
        strip = await page.colours(x=place["x"], y=place["y"] + 8, width=place["width"] // 1, height=1)
        shown = sum(strip.get(COLOURS[name], 0) for name in ("complete", "open"))
        assert shown > 0.7 * place["width"]  # the rest is between days
        assert (COLOURS["open"] in strip) == (days > 2)
        assert page.complaints == []


async def test_pointing_at_a_cell_tells_its_numbers(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(day_page(chart(10, "BTC/USD", "ETH/EUR", volume=True)), encoding="utf-8")
    async with browser.page(path.as_uri()) as page:
        await page.drawn()
        place = await row(page, 1)
        before = await page.picture()
        await page.mouse("mouseMoved", place["x"] + 0.25 * place["width"], place["y"] + 20)
        said = await page.evaluate("document.querySelector('.legend').innerText.replace(/\\s+/g, ' ')")
        assert said == "ETH/EUR 2023-11-08 4.5 ETH 1,002 trades open: trades may be missing 7 missing"
        assert await page.picture() != before
        colours = await page.colours(x=place["x"], y=place["y"], width=800, height=70)
        # Nine days are sure; the third is not, and as tall as its share of the tenth.
        assert colours[COLOURS["rising"]] > 5 * colours[COLOURS["unknown"]] > 5000
        assert page.complaints == []
