"""The pages in a headless Chromium: what people see and do, with the console clean under the policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from recorder.clock import SystemClock
from recorder.config import OpsConfig
from recorder.ops.server import serve
from recorder.page.access import Access
from recorder.page.opened import limits_for
from recorder.page.site import Page as Site
from tests.archives import Written, at_us, quote, trade, writing
from tests.browser import FOUND, MISSING, Browser, Page, browsing
from tests.page.parts import Source, beside
from tests.servers import free_port

pytestmark = pytest.mark.skipif(FOUND is None, reason=MISSING)

MINUTES = 5_200
"""More bars than one answer has."""
GAP = range(5_100, 5_110)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Written]:
    """A trade of BTC/USD each minute, but in a gap."""
    with writing(tmp_path / "data") as written:
        written.append([trade(n + 1, at_us(n), str(100 + n % 7)) for n in range(MINUTES) if n not in GAP])
        yield written


@asynccontextmanager
async def shown(archive: Written) -> AsyncIterator[tuple[str, Source]]:
    source, port, clock = Source(), free_port(), SystemClock()
    async with beside(archive.data) as reader:
        page = Site(source, reader, Access(None), clock)
        async with serve(OpsConfig(port=port), None, limits_for(page), more=page):
            try:
                yield f"http://127.0.0.1:{port}", source
            finally:
                await page.close()


async def until(page: Page, condition: str) -> Any:
    """Return what a condition in the page has come to be, once it is true."""
    async with asyncio.timeout(60):
        while not (found := await page.evaluate(condition)):
            await asyncio.sleep(0.05)
    return found


def complaints(page: Page, base: str) -> list[str]:
    return [one for one in page.complaints if not one.startswith((base, f"blob:{base}"))]


async def test_pages_are_live_fit_their_window_and_keep_to_the_policy(
    browser: Browser, archive: Written, tmp_path: Path
) -> None:
    async with shown(archive) as (base, source):
        async with browser.page(base, width=390, height=844, dark=True) as page:
            price = "document.querySelector('tr[data-pair=\"BTC/USD\"] [data-cell=price]').textContent"
            assert await page.evaluate(price) == "97,000.10"
            await until(page, "document.getElementById('live').textContent === 'live'")
            source.price = "97000.20"
            await until(page, f"{price} === '97,000.20'")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 390
            assert await page.evaluate("document.querySelectorAll('script:not([src])').length") == 0
            await page.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '/', bubbles: true}))")
            assert await page.evaluate("document.activeElement.id") == "filter"
            assert complaints(page, base) == []
        async with browser.page(f"{base}/pair/BTC/USD?timeframe=1m", width=1440, height=900) as page:
            await until(page, "document.getElementById('chart').view?.bars.length")
            bars = "document.getElementById('chart').view.bars.length"
            loaded = await page.evaluate(bars)
            assert loaded == 5_000 - len(GAP)
            states = await page.evaluate("document.getElementById('chart').view.bars.map((bar) => bar.state)")
            assert states.count("incomplete") == 2
            # Older ones follow when the left edge comes near, and the newest as they come.
            scale = "document.getElementById('chart').view.chart.timeScale()"
            await page.evaluate(f"{scale}.setVisibleLogicalRange({{from: 10, to: 90}})")
            await until(page, f"{bars} === {MINUTES - len(GAP)}")
            archive.journalled([trade(MINUTES + 1, at_us(MINUTES), "123.5")])
            await until(page, f"document.querySelector('#tape tbody td:last-child').textContent === '{MINUTES + 1}'")
            await until(page, f"{bars} === {MINUTES + 1 - len(GAP)}")
            await until(page, "location.search.includes('start=')")
            # A trade that others wait for is named, and once it is stored the chart is whole.
            archive.journalled([trade(MINUTES + 3, at_us(MINUTES + 2))])
            await until(page, "document.getElementById('tape-state').textContent === 'waiting for 1 missing id'")
            archive.append([trade(MINUTES + 2, at_us(MINUTES + 1))])
            await until(page, f"{bars} === {MINUTES + 3 - len(GAP)}")
            assert await page.evaluate("document.getElementById('tape-state').textContent") == ""
            assert complaints(page, base) == []
        async with browser.page(f"{base}/ask", width=1000, height=700) as page:
            folder = str(tmp_path / "downloads")
            await page("Page.setDownloadBehavior", behavior="allow", downloadPath=folder)
            statement = "SELECT count(*) AS trades FROM trades"
            await page.evaluate(f"document.getElementById('sql').value = {statement!r}")
            await page.evaluate("document.getElementById('sql-form').requestSubmit()")
            await until(page, "document.querySelector('#sql-answer td') !== null")
            shown_rows = await page.evaluate("document.querySelector('#sql-answer').textContent")
            assert f"{MINUTES + 3 - len(GAP)}" in shown_rows
            assert "BTC/USD: 10 trades of the archive missing" in shown_rows
            await page.evaluate("document.querySelector('[data-download=csv]').click()")
            await until(page, "!document.querySelector('[data-download=csv]').disabled")
            file = Path(folder) / "query.csv"
            async with asyncio.timeout(60):
                while not file.exists():
                    await asyncio.sleep(0.05)
            assert file.read_text() == f"trades\n{MINUTES + 3 - len(GAP)}\n"
            assert complaints(page, base) == []


UNNAMED = """[...document.querySelectorAll("a, button, input:not([type=hidden]), textarea, [role=region], [role=img]")]
  .filter(one => !one.labels?.length && !one.textContent.trim() && !one.ariaLabel)
  .map(one => one.outerHTML)"""
"""What a screen reader has no name for."""


async def test_without_javascript_there_are_tables_and_all_can_be_reached_by_keys(
    browser: Browser, tmp_path: Path
) -> None:
    with writing(tmp_path / "data") as written:
        written.append([trade(n + 1, at_us(n), str(100 + n % 7)) for n in range(8)])
        written.quoted([quote(1, 0, at_us(7), "105.5", "106.5")])
        written.one_book({"105.1": "2"}, {"106.3": "3"}, at_us(7))
        async with shown(written) as (base, _), browser.page(base, width=1280, height=800, scripts=False) as page:

            async def texts(selector: str) -> list[str]:
                found: list[str] = await page.evaluate(
                    f"[...document.querySelectorAll({selector!r})].map(one => one.innerText)"
                )
                return found

            assert await texts("html.scripted") == []  # nothing has run
            assert "97,000.10" in (await texts("#pairs td"))[0]
            assert await page.evaluate(UNNAMED) == []
            # The first key leads past the bar, and each further one on to something that shows that it has the focus.
            await page.press("Tab")
            assert await page.evaluate("document.activeElement.innerText") == "Skip to the content"
            for _ in range(3):
                await page.press("Tab")
                assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            await page.go(f"{base}/pair/BTC/USD?timeframe=1m")
            assert len(await texts("#tape tbody tr")) == 8
            assert len(await texts("[aria-labelledby=candles-title] tbody tr")) == 8
            assert "106.5" in (await texts(".quote .ask"))[0]
            assert [row.split()[1] for row in await texts(".ladder tbody tr")] == ["106.3", "105.1"]
            assert "ago" not in (await texts(".book h2"))[0]
            assert "JavaScript" in (await texts("noscript"))[0]
            assert await page.evaluate(UNNAMED) == []
            await page.go(f"{base}/ask/vwap?pair=BTC%2FUSD&width=1+minute&run=1")
            assert len(await texts(".answer tbody tr")) == 8
            assert await page.evaluate("document.querySelector('figure path').getBoundingClientRect().width") > 500
            assert await page.evaluate(UNNAMED) == []
            assert complaints(page, base) == []
