"""What is drawn, read out of the chart's own description; and the files that it is written to."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import TIMEFRAMES, Event, Trade
from recorder.errors import UsageError
from recorder.query import chart_style, plots
from recorder.query.chart_style import Figure
from recorder.query.connect import Archive, connect
from tests.archives import MINUTE_US, START, START_US, Written, trade, writing

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
MS = START_US // 1000
LONG_AGO = START - timedelta(weeks=400)
"""A Monday, and years of days after it are over."""
LONG_AGO_US = START_US - 2800 * DAY_US


@pytest.fixture
def opened(archive: Written) -> Archive:
    return connect(archive.data)


def rows(figure: Figure, *fields: str) -> list[dict[str, Any]]:
    """Return the rows of the first data set of the chart that has these fields."""
    datasets: list[list[dict[str, Any]]] = list(figure.to_dict()["datasets"].values())
    return next(values for values in datasets if values and set(fields) <= set(values[0]))


def found_in(spec: object, key: str) -> list[Any]:
    """Return what stands under ``key``, anywhere."""
    if isinstance(spec, list):
        return [found for part in spec for found in found_in(part, key)]
    if not isinstance(spec, dict):
        return []
    here = [spec[key]] if spec.get(key) else []
    return here + [found for part in spec.values() for found in found_in(part, key)]


def title(figure: Figure) -> str:
    said = figure.to_dict()["title"]
    return "\n".join([said["text"], *said["subtitle"]])


def legend(figure: Figure) -> list[str]:
    domains = [scale["domain"] for scale in found_in(figure.to_dict(), "scale") if "range" in scale]
    return [str(word) for word in domains[0]]


def minutes(*numbers: int, price: str = "100", pair: str = "BTC/USD") -> list[Trade]:
    """Return a trade in the middle of each of these minutes, with ids from 1."""
    return [
        trade(trade_id, START_US + minute * MINUTE_US + MINUTE_US // 2, price, pair=pair)
        for trade_id, minute in enumerate(numbers, 1)
    ]


def test_a_candle_is_drawn_from_its_bar(archive: Written, opened: Archive) -> None:
    archive.append(
        [
            trade(1, START_US, "100", "2"),
            trade(2, START_US + 1, "130", "1"),
            trade(3, START_US + 2, "90", "1"),
            trade(4, START_US + MINUTE_US, "80", "1"),
        ]
    )
    first, second = rows(plots.candles(opened, "BTC/USD"), "open")
    assert [first[name] for name in ("open", "high", "low", "close", "vwap", "volume", "count")] == [
        *(100, 130, 90, 90, 105, 4, 3)
    ]
    assert (first["kind"], first["complete"]) == ("falling", True)
    assert (second["kind"], second["complete"]) == ("rising", False)  # it closes where it opened; and it is not over
    assert first["time"] == MS + 30_000
    assert first["begin"] == "2025-11-10 12:00"
    assert MS < first["left"] < first["time"] < first["right"] < MS + 60_000


def test_prices_and_currencies_and_utc_stand_on_the_axes(archive: Written, opened: Archive) -> None:
    archive.append(minutes(0, 1, pair="ETH/EUR"))
    spec = plots.candles(opened, "ETH/EUR").to_dict()
    titles = [said for said in found_in(spec, "title") if isinstance(said, str)]
    assert {"Price (EUR)", "Volume (ETH)", "Time (UTC)"} <= set(titles)
    assert {scale["type"] for scale in found_in(spec, "scale") if "type" in scale} == {"utc"}


def test_a_hole_is_shaded_cuts_the_line_of_vwap_and_marks_the_bars_that_it_touches(
    archive: Written, opened: Archive
) -> None:
    held = minutes(*range(10))
    archive.append([row for row in held if row.trade_id not in {5, 6}])
    figure = plots.candles(opened, "BTC/USD")
    (hole,) = rows(figure, "missing")
    assert hole["missing"] == "2"
    assert (hole["left"], hole["right"]) == (MS + 3 * 60_000 + 30_000, MS + 6 * 60_000 + 30_000)
    bars = rows(figure, "open")
    assert [row["complete"] for row in bars] == [True, True, True, False, False, True, True, False]
    assert [row["stretch"] for row in bars] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert legend(figure) == ["rising", "falling", "vwap", "incomplete bar", "hole: trades missing"]
    assert "8 trades in 8 bars · 3 incomplete · 1 hole, 2 trades missing" in title(figure)


def test_a_hole_that_began_before_the_range_is_shaded_from_its_beginning(archive: Written, opened: Archive) -> None:
    archive.append([row for row in minutes(*range(10)) if row.trade_id not in {3, 4, 5, 6}])
    (hole,) = rows(plots.candles(opened, "BTC/USD", "1m", START + timedelta(minutes=4)), "missing")
    assert (hole["left"], hole["right"], hole["missing"]) == (MS + 4 * 60_000, MS + 6 * 60_000 + 30_000, "4")


def test_without_holes_nothing_is_said_of_them(archive: Written, opened: Archive) -> None:
    archive.append(minutes(0, 1, 2))
    figure = plots.candles(opened, "BTC/USD", stop=START + timedelta(minutes=2))
    assert legend(figure) == ["rising", "falling", "vwap"]
    assert title(figure) == "BTC/USD in 1m candles\n2025-11-10 12:00 to 2025-11-10 12:02 UTC · 2 trades in 2 bars"


def test_void_ids_are_no_hole_and_what_was_before_the_first_trade_is(archive: Written, opened: Archive) -> None:
    archive.append([row for row in minutes(*range(10)) if row.trade_id in {4, 5, 8, 9}])
    archive.noted(Event(START_US, "void", "BTC/USD", '{"first_id":6,"last_id":7}'))
    (hole,) = rows(plots.candles(opened, "BTC/USD", "1m", START), "missing")
    assert hole["missing"] == "unknown"
    assert (hole["left"], hole["right"]) == (MS, MS + 3 * 60_000 + 30_000)


@given(st.sampled_from(list(TIMEFRAMES)), st.floats(0.01, 5000))
def test_bars_are_as_fine_as_asked_for_or_as_can_be_seen(timeframe: str, days: float) -> None:
    span_us = int(days * DAY_US)
    fitting = plots.fitting(timeframe, span_us, plots.WIDTH)
    pixels = {name: plots.WIDTH * TIMEFRAMES[name] * MINUTE_US / span_us for name in TIMEFRAMES}
    assert TIMEFRAMES[fitting] >= TIMEFRAMES[timeframe]
    assert pixels[fitting] >= plots.BAR_PX or fitting == list(TIMEFRAMES)[-1]
    finer = [name for name in TIMEFRAMES if TIMEFRAMES[timeframe] <= TIMEFRAMES[name] < TIMEFRAMES[fitting]]
    assert all(pixels[name] < plots.BAR_PX for name in finer)


def test_a_long_range_is_drawn_in_longer_bars_and_says_so(archive: Written, opened: Archive) -> None:
    archive.append(minutes(*range(0, 1500, 5)))
    figure = plots.candles(opened, "BTC/USD", "1m")
    assert "BTC/USD in 5m candles" in title(figure)
    assert "5m instead of 1m" in title(figure)
    assert len(rows(figure, "open")) == 300
    assert "BTC/USD in 1m candles" in title(plots.candles(opened, "BTC/USD", "1m", width=5000))


def test_the_axis_shows_the_range_that_was_asked_for(archive: Written, opened: Archive) -> None:
    archive.append(minutes(5, 6))
    figure = plots.candles(opened, "BTC/USD", "1m", "2025-11-10T12:01:30Z", "2025-11-10T12:20:00Z")
    domains = {tuple(scale["domain"]) for scale in found_in(figure.to_dict(), "scale") if scale.get("type") == "utc"}
    assert domains == {(MS + 60_000, MS + 20 * 60_000)}


def test_a_cell_of_the_calendar_says_what_the_certificate_says(archive: Written, opened: Archive) -> None:
    day = [trade(n, START_US + n * DAY_US) for n in range(1, 8)]
    archive.append([row for row in day if row.trade_id != 3])
    archive.append(minutes(0, pair="ETH/USD"))
    cells = rows(plots.coverage(opened, stop="2025-11-17", pairs=["BTC/USD"]), "status")
    assert {cell["pair"] for cell in cells} == {"BTC/USD"}
    assert [(cell["from"], cell["status"], cell["trades"], cell["missing"]) for cell in cells] == [
        ("2025-11-11", "complete", 1, 0),
        ("2025-11-12", "open", 1, 1),
        ("2025-11-13", "open", 0, 1),
        ("2025-11-14", "open", 1, 1),
        ("2025-11-15", "complete", 1, 0),
        ("2025-11-16", "complete", 1, 0),
    ]
    assert cells[0]["left"] == MS // 86_400_000 * 86_400_000 + 86_400_000
    assert {cell["right"] - cell["left"] for cell in cells} == {86_400_000}


@pytest.mark.parametrize(
    ("days", "unit", "count"),
    [(10, "day", 10), (333, "day", 333), (334, "week", 48), (2333, "week", 334), (2334, "month", 77)],
)
def test_days_too_narrow_to_be_seen_become_weeks_then_months(
    days: int, unit: str, count: int, archive: Written, opened: Archive
) -> None:
    archive.append([trade(n, LONG_AGO_US + (n - 1) * DAY_US) for n in (1, days + 1)])
    stop = LONG_AGO + timedelta(days=days)
    cells = rows(plots.coverage(opened, stop=f"{stop:%Y-%m-%d}"), "status")
    assert len(cells) == count
    assert sum(cell["open"] for cell in cells) == days
    begin = datetime.fromtimestamp(cells[1]["left"] / 1000, UTC)
    assert {"day": True, "week": begin.weekday() == 0, "month": begin.day == 1}[unit]
    assert all(one["right"] == after["left"] for one, after in pairwise(cells))


def test_a_week_shows_its_worst_day(archive: Written, opened: Archive) -> None:
    day = [trade(n, LONG_AGO_US + n * DAY_US) for n in range(1, 401)]
    archive.append([row for row in day if row.trade_id != 200])
    cells = rows(plots.coverage(opened, stop=f"{LONG_AGO + timedelta(days=400):%Y-%m-%d}"), "status")
    (bad,) = [cell for cell in cells if cell["open"]]
    assert (bad["status"], bad["open"], bad["trades"], bad["missing"]) == ("open", 3, 6, 3)


def test_of_very_many_pairs_those_with_the_most_open_days_are_shown(
    archive: Written, opened: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "PAIRS", 2)
    archive.append([trade(n, START_US + n * DAY_US, pair="A/USD") for n in (1, 2, 3, 4)])
    archive.append([trade(n, START_US + n * DAY_US, pair="B/USD") for n in (1, 3, 4)])
    archive.append([trade(n, START_US + n * DAY_US, pair="C/USD") for n in (1, 2, 4)])
    figure = plots.coverage(opened, stop="2025-11-14")
    assert {cell["pair"] for cell in rows(figure, "status")} == {"B/USD", "C/USD"}
    assert "the 2 of 3 pairs with the most open days" in title(figure)


def test_volume_is_that_of_the_day_and_tells_where_it_may_be_more(archive: Written, opened: Archive) -> None:
    hours = (1, 2, 13, 14, 37, 61)
    rows_of = [trade(n, START_US + hour * HOUR_US, qty=f"0.{n}") for n, hour in enumerate(hours, 1)]
    archive.append([row for row in rows_of if row.trade_id != 5])
    bars = rows(plots.volume(opened), "volume")
    assert [(bar["from"], bar["volume"], bar["held"]) for bar in bars] == [
        ("2025-11-10", pytest.approx(0.1 + 0.2), chart_style.SURE),
        ("2025-11-11", pytest.approx(0.3 + 0.4), chart_style.AT_LEAST),
        ("2025-11-12", 0, chart_style.AT_LEAST),
        ("2025-11-13", pytest.approx(0.6), chart_style.AT_LEAST),
    ]


def test_the_volume_of_a_week_is_the_sum_of_its_days_and_as_sure_as_its_worst(
    archive: Written, opened: Archive
) -> None:
    day = [trade(n, LONG_AGO_US + n * DAY_US, qty="2") for n in range(1, 401)]
    archive.append([row for row in day if row.trade_id != 200])
    bars = rows(plots.volume(opened), "volume")
    assert [bar["volume"] for bar in bars[:3]] == [12, 14, 14]  # the first trade is on a Tuesday
    assert [bar["volume"] for bar in bars if bar["held"] == chart_style.AT_LEAST and bar != bars[-1]] == [12]
    assert len([bar for bar in bars if bar["held"] == chart_style.SURE]) == len(bars) - 2


def test_each_pair_has_a_panel_of_its_own_up_to_a_number(
    archive: Written, opened: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pair, count in {"A/USD": 1, "B/USD": 3, "C/USD": 2}.items():
        archive.append(minutes(*range(count), pair=pair))
    spec = plots.volume(opened).to_dict()
    assert [panel["title"]["text"] for panel in spec["vconcat"]] == ["A/USD", "B/USD", "C/USD"]
    monkeypatch.setattr(plots, "PANELS", 2)
    figure = plots.volume(opened)
    assert [panel["title"]["text"] for panel in figure.to_dict()["vconcat"]] == ["B/USD", "C/USD"]
    assert "the 2 of 3 pairs with the most trades" in title(figure)


def test_a_page_needs_nothing_from_elsewhere_and_a_picture_is_one(
    archive: Written, opened: Archive, tmp_path: Path
) -> None:
    archive.append(minutes(0, 1, 2))
    figure = plots.candles(opened, "BTC/USD")
    page, png, svg = (tmp_path / f"x{suffix}" for suffix in plots.SUFFIXES)
    for path in (page, png, svg):
        plots.save(figure, path)
    text = page.read_text(encoding="utf-8")
    assert "window.vegaEmbed=" in text
    assert not any(f'{attribute}="{scheme}' in text for attribute in ("src", "href") for scheme in ("http", "//"))
    assert '"editor": false' in text
    assert png.read_bytes().startswith(b"\x89PNG\r\n")
    assert svg.read_text(encoding="utf-8").startswith("<svg")
    assert "BTC/USD in 1m candles" in svg.read_text(encoding="utf-8")


def test_a_chart_is_plain_data_and_can_be_changed(archive: Written, opened: Archive) -> None:
    archive.append(minutes(0, 1))
    figure = plots.candles(opened, "BTC/USD")
    assert json.loads(figure.to_json()) == figure.to_dict()
    assert figure.properties(background="black").to_dict()["background"] == "black"


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda archive: plots.candles(archive, "BTC/USS"), "did you mean BTC/USD"),
        (lambda archive: plots.candles(archive, "BTC/USD", "2m"), "there is no timeframe '2m'"),
        (
            lambda archive: plots.candles(archive, "BTC/USD", "1m", "2026-01-01"),
            "has it from 2025-11-10 12:00:30 to",
        ),
        (
            lambda archive: plots.candles(archive, "BTC/USD", "1m", None, "2025-01-01"),
            "no trade of BTC/USD is stored in",
        ),
        (lambda archive: plots.candles(archive, "BTC/USD", "1m", "2026-01-02", "2026-01-01"), "reversed"),
        (lambda archive: plots.coverage(archive, pairs=["BTC/USS"]), "did you mean BTC/USD"),
        (lambda archive: plots.coverage(archive, stop="2025-01-01"), "the archive has 2025-11-10 to"),
        (lambda archive: plots.volume(archive, "2025-11-11T00:00"), "has no time zone"),
        (lambda archive: plots.save(plots.coverage(archive), Path("x.jpg")), "'x.jpg' does not"),
    ],
)
def test_a_mistake_is_one_sentence(draw: Any, sentence: str, archive: Written, opened: Archive) -> None:
    archive.append(minutes(0, 1, 2))
    with pytest.raises(UsageError, match=sentence):
        draw(opened)


def test_an_archive_without_trades_says_so(opened: Archive, archive: Written) -> None:
    assert archive.data.is_dir()
    for draw in (plots.coverage, plots.volume):
        with pytest.raises(UsageError, match="holds no trade yet"):
            draw(opened)


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_without_the_extra_the_error_says_how_to_install_it(missing: str, tmp_path: Path) -> None:
    with writing(tmp_path / "data"):
        pass
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = ['plot', 'coverage']; import recorder.cli as c"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; c.main()"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "recorder: pictures need Altair: pip install 'kraken-recorder[plots]'\n"


NAMED = "</script><script>alert(1)</script><!--\u2028\x1b[31m\u202e/USD"


@pytest.mark.parametrize("drawn", ["candles", "coverage", "volume"])
def test_what_is_in_a_name_does_not_run(archive: Written, opened: Archive, tmp_path: Path, drawn: str) -> None:
    archive.append(minutes(0, 1, 2, pair=NAMED))
    archive.append(minutes(0, 1, 2))
    figure = plots.candles(opened, NAMED) if drawn == "candles" else getattr(plots, drawn)(opened)
    plots.save(figure, tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    plots.save(plots.coverage(opened, pairs=["BTC/USD"]), tmp_path / "usual.html")
    usual = (tmp_path / "usual.html").read_text(encoding="utf-8")
    assert "alert(1)" in page
    for harm in ("<script", "</script", "<!--", "\u2028", "\x1b", "\u202e"):
        assert page.count(harm) == usual.count(harm), harm
    assert "<script>alert" not in figure.to_html()  # as a notebook shows it
    plots.save(figure, tmp_path / "x.svg")
    assert "<script" not in (tmp_path / "x.svg").read_text(encoding="utf-8")


def test_a_text_that_is_put_into_a_chart_by_hand_does_not_run_either(
    archive: Written, opened: Archive, tmp_path: Path
) -> None:
    archive.append(minutes(0, 1, 2))
    plots.save(plots.coverage(opened).properties(title=NAMED), tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "\\u003cscript\\u003ealert(1)" in page
