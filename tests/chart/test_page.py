"""A page of HTML: what its policy allows, and what a name in it can do."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from decimal import Decimal

import pytest

from recorder.chart.candles import Bar, CandleChart
from recorder.chart.page import asset, candle_page, frame

NAMED = "</script><script>alert(1)</script><!--\u2028\x1b[31m\u202e/USD"
ONE = Decimal(1)


def page(pair: str = "BTC/USD", note: str = "") -> str:
    return candle_page(CandleChart(pair, "1m", [Bar(0, ONE, ONE, ONE, ONE, ONE, 1)], [], 0, 60_000_000, [note]))


def test_only_what_is_on_the_page_may_run_and_nothing_is_loaded() -> None:
    made = page()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', made)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    texts = {
        "script-src": re.findall(r"<script>(.*?)</script>", made, re.DOTALL),
        "style-src": re.findall(r"<style>(.*?)</style>", made, re.DOTALL),
    }
    for rule, found in texts.items():
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
        assert rules[rule].split() == [f"'sha256-{digest}'" for digest in digests]
    assert set(rules) == {"default-src", "base-uri", "form-action", *texts}
    assert not re.findall(
        r"""(?:src|href)\s*=\s*["'](?!https://www\.tradingview\.com/["'])""", made.split("</style>")[0]
    )


def test_our_script_makes_no_code_from_text_and_asks_for_nothing() -> None:
    script = asset("candles.js")
    for word in ("eval(", "Function(", "innerHTML", "outerHTML", "insertAdjacentHTML", "fetch(", "XMLHttp", "import("):
        assert word not in script
    assert re.findall(r"https?://[^\"]*", script) == ["https://www.tradingview.com/"]


@pytest.mark.parametrize("place", ["pair", "note"])
def test_what_is_in_a_name_does_not_run(place: str) -> None:
    made, usual = page(**{place: NAMED}), page()
    assert "alert(1)" in made
    for harm in ("<script", "</script", "<!--", "\u2028", "\x1b", "\u202e"):
        assert made.count(harm) == usual.count(harm), harm


def test_a_frame_holds_the_page_and_keeps_it_apart() -> None:
    made = frame(page(NAMED), 300)
    assert made.count("<") == made.count(">") == 2
    (held,) = re.findall(r'srcdoc="([^"]*)"', made)
    assert html.unescape(held) == page(NAMED)
    (allowed,) = re.findall(r'sandbox="([^"]*)"', made)
    assert "allow-same-origin" not in allowed


def test_the_library_comes_with_its_licence_and_the_page_names_its_makers() -> None:
    notice = asset("lightweight-charts/NOTICE")
    assert "Apache License" in asset("lightweight-charts/LICENSE")
    assert "https://www.tradingview.com/" in notice
    version = asset("lightweight-charts/lightweight-charts.standalone.production.js")[:200]
    (year,) = re.findall(r"Copyright \(c\) (\d{4}) TradingView, Inc\.", version)
    assert f"Copyright (c) {year} TradingView, Inc." in notice
    assert f"© {year} TradingView, Inc." in asset("candles.js")
