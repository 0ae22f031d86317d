"""Pages with a chart: one HTML file that opens without a network, and the frame that shows it in a notebook.

A page's content policy allows its own scripts and style sheets, by their digests, and nothing else: no request to
anywhere, no code made from text.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
from collections.abc import Sequence
from importlib import resources
from typing import Final

from recorder.chart.candles import CandleChart
from recorder.chart.days import DayChart
from recorder.core.safe_text import json_for_script, printable

FRAME_PX: Final = 540
"""The height of candles in a notebook."""
LIBRARY: Final = "lightweight-charts/lightweight-charts.standalone.production.js"
_ASSETS: Final = resources.files("recorder.chart") / "assets"


def candle_page(chart: CandleChart) -> str:
    """Return candles as a page of HTML, below 2 MB, as high as its window."""
    scripts = (LIBRARY, "chart.js", "candles.js")
    return _page("candles", f"{printable(chart.pair)} candles", chart.json(), scripts, ("chart.css", "candles.css"))


def day_page(chart: DayChart) -> str:
    """Return days as a page of HTML, as high as it has rows."""
    return _page("days", chart.title, chart.json(), ("chart.js", "days.js"), ("chart.css", "days.css"))


def day_frame_px(chart: DayChart) -> int:
    """Return the height that days need in a notebook."""
    return 190 + len(chart.cells) * (82 if chart.has_volume else 20)


def _page(kind: str, title: str, data: str, scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Return a page that draws ``data``. It adapts to its window, and to a light or a dark system."""
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src {_digests(scripts)}; style-src {_digests(styles)}"
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
{"".join(f"<style>{asset(name)}</style>" for name in styles)}
<body class="chart-page">
<main data-chart="{kind}" data-source="data"><noscript>The chart is drawn by JavaScript, which is off.</noscript></main>
<script type="application/json" id="data">{json_for_script(data)}</script>
{"".join(f"<script>{asset(name)}</script>" for name in scripts)}
</html>
"""


def frame(page: str, height_px: int = FRAME_PX) -> str:
    """Return HTML that shows a page within another one, such as a notebook, each knowing nothing of the other.

    The page is part of it, so a notebook that is exported to HTML keeps its charts.
    """
    # The policy of the surrounding page applies too. A link may open a window of its own.
    allowed = "allow-scripts allow-popups allow-popups-to-escape-sandbox"
    style = f"border:0;display:block;height:{height_px}px;width:100%"
    return f'<iframe sandbox="{allowed}" style="{style}" title="chart" srcdoc="{html.escape(page)}"></iframe>'


@functools.cache
def asset(name: str) -> str:
    """Return one of the files in ``assets/`` as text."""
    return _ASSETS.joinpath(name).read_text(encoding="utf-8")


def _digests(names: Sequence[str]) -> str:
    """Return the files as sources of a content policy."""
    digests = (hashlib.sha256(asset(name).encode()).digest() for name in names)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
