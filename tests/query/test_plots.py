"""What is drawn, read out of the chart's own description; and the files that it is written to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.chart import candles
from recorder.chart.days import SURE, Cell
from recorder.core.model import TIMEFRAMES, Event, Trade
from recorder.errors import UsageError
from recorder.query import candle_plot, chart_style, day_plots, plots
from recorder.query.chart_style import Figure
from recorder.query.connect import Archive, connect
from recorder.query.plots import Chart
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
    colours = found_in(found_in(figure.to_dict(), "color"), "scale")
    return [str(word) for word in colours[0]["domain"]]


def data_of(chart: Chart) -> dict[str, Any]:
    """Return what a page draws."""
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', chart.html())
    found: dict[str, Any] = json.loads(data)
    return found


def cells_of(chart: Chart, name: str) -> list[Cell]:
    """Return the cells of a pair on a page."""
    data = data_of(chart)
    (pair,) = [pair for pair in data["pairs"] if pair["name"] == name]
    statuses = [status for status, _ in data["statuses"]]
    return [
        Cell(
            date(1970, 1, 1) + timedelta(days=cell[0]),
            date(1970, 1, 1) + timedelta(days=cell[1]),
            statuses[cell[2]],
            open=cell[3],
            trades=cell[4],
            volume=None if cell[5] is None else Decimal(cell[5]),
            missing=cell[6],
        )
        for cell in pair["cells"]
    ]


def minutes(*numbers: int, price: str = "100", pair: str = "BTC/USD") -> list[Trade]:
    """Return a trade in the middle of each of these minutes, with ids from 1."""
    return [
        trade(trade_id, START_US + minute * MINUTE_US + MINUTE_US // 2, price, pair=pair)
        for trade_id, minute in enumerate(numbers, 1)
    ]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive with a trade in each of three minutes, for whoever only reads."""
    with writing(tmp_path_factory.mktemp("three") / "data") as written:
        written.append(minutes(0, 1, 2))
        with connect(written.data) as opened:
            yield opened


def test_a_candle_is_drawn_from_its_bar(archive: Written, opened: Archive) -> None:
    archive.append(
        [
            trade(1, START_US, "100", "2"),
            trade(2, START_US + 1, "130", "1"),
            trade(3, START_US + 2, "90", "1"),
            trade(4, START_US + MINUTE_US, "80", "1"),
        ]
    )
    first, second = rows(plots.candles(opened, "BTC/USD").figure(), "open")
    assert [first[name] for name in ("open", "high", "low", "close", "vwap", "volume", "count")] == [
        *(100, 130, 90, 90, 105, 4, 3)
    ]
    assert (first["kind"], first["state"]) == ("falling", "complete")
    # It closes where it opened; and it is not over.
    assert (second["kind"], second["state"]) == ("rising", "at an end of the recording")
    assert first["time"] == MS + 30_000
    assert MS < first["left"] < first["time"] < first["right"] < MS + 60_000


def test_prices_and_currencies_and_utc_stand_on_the_axes(archive: Written, opened: Archive) -> None:
    archive.append(minutes(0, 1, pair="ETH/EUR"))
    spec = plots.candles(opened, "ETH/EUR").figure().to_dict()
    titles = [said for said in found_in(spec, "title") if isinstance(said, str)]
    assert {"Price (EUR)", "Volume (ETH)", "Time (UTC)"} <= set(titles)
    assert {scale["type"] for scale in found_in(spec, "scale") if "type" in scale} == {"utc"}


def test_a_gap_is_shaded_cuts_the_line_of_vwap_and_marks_the_bars_that_it_touches(
    archive: Written, opened: Archive
) -> None:
    held = minutes(*range(10))
    archive.append([row for row in held if row.trade_id not in {5, 6}])
    figure = plots.candles(opened, "BTC/USD").figure()
    (gap,) = rows(figure, "band")
    assert gap["band"] == "gap: trades missing"
    assert (gap["left"], gap["right"]) == (MS + 3 * 60_000 + 30_000, MS + 6 * 60_000 + 30_000)
    bars = rows(figure, "open")
    states = {"complete": "c", "incomplete": "i", "at an end of the recording": "e"}
    assert "".join(states[row["state"]] for row in bars) == "ccciicce"
    assert [row["stretch"] for row in bars] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert legend(figure) == ["rising", "falling", "vwap", "incomplete bar", "gap: trades missing"]
    told = "8 trades in 8 bars · 2 incomplete · 1 at an end of the recording · 1 gap, 2 trades missing"
    assert told in title(figure)


def test_a_gap_that_began_before_the_range_is_shaded_from_its_beginning(archive: Written, opened: Archive) -> None:
    archive.append([row for row in minutes(*range(10)) if row.trade_id not in {3, 4, 5, 6}])
    (gap,) = rows(plots.candles(opened, "BTC/USD", "1m", START + timedelta(minutes=4)).figure(), "band")
    assert (gap["left"], gap["right"]) == (MS + 4 * 60_000, MS + 6 * 60_000 + 30_000)


def test_without_gaps_nothing_is_said_of_them(archive: Written, opened: Archive) -> None:
    archive.append(minutes(0, 1, 2))
    figure = plots.candles(opened, "BTC/USD", stop=START + timedelta(minutes=2)).figure()
    assert legend(figure) == ["rising", "falling", "vwap"]
    assert title(figure) == "BTC/USD in 1m candles\n2025-11-10 12:00 to 2025-11-10 12:02 UTC · 2 trades in 2 bars"


def test_void_ids_are_no_gap_and_neither_is_what_was_before_the_recording(archive: Written, opened: Archive) -> None:
    archive.append([row for row in minutes(*range(10)) if row.trade_id in {4, 5, 8, 9}])
    archive.noted(Event(START_US, "void", "BTC/USD", '{"first_id":6,"last_id":7}'))
    chart = plots.candles(opened, "BTC/USD", "1m", START)
    (before,) = rows(chart.figure(), "band")
    assert before["band"] == "before the recording"
    assert (before["left"], before["right"]) == (MS, MS + 3 * 60_000 + 30_000)
    assert {span["kind"] for span in data_of(chart)["spans"]} == {"before", "after"}


def opened_gap(first_id: int, last_id: int, missing: int, noted: int, holes: int = 1) -> Event:
    """Return the note of a gap between the trades of these minutes, made in the minute ``noted``."""
    after, before = (START + timedelta(minutes=number - 0.5) for number in (first_id - 1, last_id + 1))
    detail = {
        "first_id": first_id,
        "last_id": last_id,
        "missing": missing,
        "holes": holes,
        "after": after.isoformat(),
        "before": before.isoformat(),
    }
    return Event(START_US + noted * MINUTE_US, "hole_opened", "BTC/USD", json.dumps(detail))


def test_what_was_missed_while_recording_and_fetched_later_is_shown_as_such(archive: Written, opened: Archive) -> None:
    archive.append([row for row in minutes(*range(40)) if row.trade_id != 22])
    archive.noted(
        Event(START_US + 6 * MINUTE_US, "promised", "BTC/USD", "{}"),
        opened_gap(3, 5, 3, noted=7),  # history, from before the promise
        opened_gap(10, 12, 3, noted=13),
        opened_gap(11, 12, 2, noted=14),  # what was left of it at the next start
        opened_gap(20, 24, 4, noted=25, holes=2),  # one of the five was stored then, and one is missing still
        opened_gap(22, 22, 1, noted=26),
        opened_gap(60, 70, 11, noted=71),  # nothing of it was ever stored
    )
    chart = plots.candles(opened, "BTC/USD")
    spans = [span for span in data_of(chart)["spans"] if span["kind"] == "repaired"]
    assert [(span["from"], span["until"], span["missing"]) for span in spans] == [
        (MS + 510_000, MS + 750_000, 3),
        (MS + 1_110_000, MS + 1_470_000, 3),
    ]
    drawn = [band["left"] for band in rows(chart.figure(), "band") if band["band"] == "gap that was filled"]
    assert drawn == [MS + 510_000, MS + 1_110_000]


def test_a_page_has_finer_bars_than_a_still_and_says_where_not_the_finest(
    archive: Written, opened: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.append(minutes(*range(0, 1500, 5)))
    data = data_of(plots.candles(opened, "BTC/USD"))
    assert (data["timeframes"][0], data["notes"]) == (["1m", 1], [])
    assert (data["from"], data["until"]) == (MS, MS + 1496 * 60_000)
    monkeypatch.setattr(candles, "SLOTS", 1000)
    data = data_of(plots.candles(opened, "BTC/USD"))
    assert data["timeframes"][0] == ["5m", 5]
    assert "5m bars, because a page of so long a range has no room for 1m" in data["notes"][0]


def test_a_page_that_would_be_too_large_has_longer_bars(
    archive: Written, opened: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.append(minutes(*range(0, 1500, 5)))
    small = len(json.dumps(data_of(plots.candles(opened, "BTC/USD", "15m"))))
    monkeypatch.setattr(candle_plot, "DATA_BYTES", small)
    assert data_of(plots.candles(opened, "BTC/USD"))["timeframes"][0] == ["15m", 15]


@given(st.sampled_from(list(TIMEFRAMES)), st.floats(0.01, 5000))
def test_bars_are_as_fine_as_asked_for_or_as_can_be_seen(timeframe: str, days: float) -> None:
    span_us = int(days * DAY_US)
    fitting = candle_plot.fitting(timeframe, span_us, plots.WIDTH)
    pixels = {name: plots.WIDTH * TIMEFRAMES[name] * MINUTE_US / span_us for name in TIMEFRAMES}
    assert TIMEFRAMES[fitting] >= TIMEFRAMES[timeframe]
    assert pixels[fitting] >= candle_plot.BAR_PX or fitting == list(TIMEFRAMES)[-1]
    finer = [name for name in TIMEFRAMES if TIMEFRAMES[timeframe] <= TIMEFRAMES[name] < TIMEFRAMES[fitting]]
    assert all(pixels[name] < candle_plot.BAR_PX for name in finer)


def test_a_long_range_is_drawn_in_longer_bars_and_says_so(archive: Written, opened: Archive) -> None:
    archive.append(minutes(*range(0, 1500, 5)))
    figure = plots.candles(opened, "BTC/USD", "1m").figure()
    assert "BTC/USD in 5m candles" in title(figure)
    assert "5m instead of 1m" in title(figure)
    assert len(rows(figure, "open")) == 300
    assert "BTC/USD in 1m candles" in title(plots.candles(opened, "BTC/USD", "1m", width=5000).figure())


def test_the_axis_shows_the_range_that_was_asked_for(archive: Written, opened: Archive) -> None:
    archive.append(minutes(5, 6))
    figure = plots.candles(opened, "BTC/USD", "1m", "2025-11-10T12:01:30Z", "2025-11-10T12:20:00Z").figure()
    scales = [scale for scale in found_in(figure.to_dict(), "scale") if scale.get("type") == "utc"]
    assert {(scale["domainMin"], scale["domainMax"]) for scale in scales} == {(MS + 60_000, MS + 20 * 60_000)}


def test_a_cell_of_the_calendar_says_what_the_certificate_says(archive: Written, opened: Archive) -> None:
    day = [trade(n, START_US + n * DAY_US) for n in range(1, 8)]
    archive.append([row for row in day if row.trade_id != 3])
    archive.append(minutes(0, pair="ETH/USD"))
    chart = plots.coverage(opened, stop="2025-11-17", pairs=["BTC/USD"])
    assert [pair["name"] for pair in data_of(chart)["pairs"]] == ["BTC/USD"]
    cells = cells_of(chart, "BTC/USD")
    assert [(str(cell.first), cell.status, cell.trades, cell.missing) for cell in cells] == [
        ("2025-11-11", "complete", 1, 0),
        ("2025-11-12", "open", 1, 1),
        ("2025-11-13", "open", 0, 1),
        ("2025-11-14", "open", 1, 1),
        ("2025-11-15", "complete", 1, 0),
        ("2025-11-16", "complete", 1, 0),
    ]
    assert {cell.after - cell.first for cell in cells} == {timedelta(days=1)}
    drawn = rows(chart.figure(), "status")
    assert [row["status"] for row in drawn] == [cell.status for cell in cells]
    assert drawn[0]["left"] == MS // 86_400_000 * 86_400_000 + 86_400_000
    assert {row["right"] - row["left"] for row in drawn} == {86_400_000}


@pytest.mark.parametrize(
    ("days", "unit", "count"),
    [(10, "day", 10), (333, "day", 333), (334, "week", 48), (2333, "week", 334), (2334, "month", 77)],
)
def test_days_too_narrow_to_be_seen_become_weeks_then_months(
    days: int, unit: str, count: int, archive: Written, opened: Archive
) -> None:
    archive.append([trade(n, LONG_AGO_US + (n - 1) * DAY_US) for n in (1, days + 1)])
    stop = LONG_AGO + timedelta(days=days)
    cells = cells_of(plots.coverage(opened, stop=f"{stop:%Y-%m-%d}"), "BTC/USD")
    assert len(cells) == count
    assert sum(cell.open for cell in cells) == days
    assert {"day": True, "week": cells[1].first.weekday() == 0, "month": cells[1].first.day == 1}[unit]
    assert all(one.after == following.first for one, following in pairwise(cells))


def test_a_week_shows_its_worst_day(archive: Written, opened: Archive) -> None:
    day = [trade(n, LONG_AGO_US + n * DAY_US) for n in range(1, 401)]
    archive.append([row for row in day if row.trade_id != 200])
    chart = plots.coverage(opened, stop=f"{LONG_AGO + timedelta(days=400):%Y-%m-%d}")
    (bad,) = [cell for cell in cells_of(chart, "BTC/USD") if cell.open]
    assert (bad.status, bad.open, bad.trades, bad.missing) == ("open", 3, 6, 3)
    assert "a cell is a week and shows its worst day" in data_of(chart)["notes"][0]


def test_of_very_many_pairs_those_with_the_most_open_days_are_shown(
    archive: Written, opened: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_plots, "PAIRS", 2)
    archive.append([trade(n, START_US + n * DAY_US, pair="A/USD") for n in (1, 2, 3, 4)])
    archive.append([trade(n, START_US + n * DAY_US, pair="B/USD") for n in (1, 3, 4)])
    archive.append([trade(n, START_US + n * DAY_US, pair="C/USD") for n in (1, 2, 4)])
    chart = plots.coverage(opened, stop="2025-11-14")
    assert [pair["name"] for pair in data_of(chart)["pairs"]] == ["B/USD", "C/USD"]
    assert "the 2 of 3 pairs with the most open days" in data_of(chart)["notes"]
    assert "the 2 of 3 pairs with the most open days" in title(chart.figure())


def test_volume_is_that_of_the_day_and_tells_where_it_may_be_more(archive: Written, opened: Archive) -> None:
    hours = (1, 2, 13, 14, 37, 61)
    rows_of = [trade(n, START_US + hour * HOUR_US, qty=f"0.{n}") for n, hour in enumerate(hours, 1)]
    archive.append([row for row in rows_of if row.trade_id != 5])
    chart = plots.volume(opened)
    assert [(str(cell.first), cell.volume, cell.status in SURE) for cell in cells_of(chart, "BTC/USD")] == [
        ("2025-11-10", Decimal("0.3"), True),
        ("2025-11-11", Decimal("0.7"), False),
        ("2025-11-12", 0, False),
        ("2025-11-13", Decimal("0.6"), False),
    ]
    drawn = rows(chart.figure(), "volume")
    assert [row["held"] for row in drawn] == [chart_style.SURE_VOLUME, *[chart_style.AT_LEAST] * 3]
    assert [row["volume"] for row in drawn] == [0.3, 0.7, 0, 0.6]


def test_the_volume_of_a_week_is_the_sum_of_its_days_and_as_sure_as_its_worst(
    archive: Written, opened: Archive
) -> None:
    day = [trade(n, LONG_AGO_US + n * DAY_US, qty="2") for n in range(1, 401)]
    archive.append([row for row in day if row.trade_id != 200])
    cells = cells_of(plots.volume(opened), "BTC/USD")
    assert [cell.volume for cell in cells[:3]] == [12, 14, 14]  # the first trade is on a Tuesday
    unsure = [cell for cell in cells if cell.status not in SURE]
    assert [cell.volume for cell in unsure[:-1]] == [12]
    assert unsure[-1] == cells[-1]


def test_each_pair_has_a_panel_of_its_own_up_to_a_number(
    archive: Written, opened: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pair, count in {"A/USD": 1, "B/USD": 3, "C/USD": 2}.items():
        archive.append(minutes(*range(count), pair=pair))
    spec = plots.volume(opened).figure().to_dict()
    assert [panel["title"]["text"] for panel in spec["vconcat"]] == ["A/USD", "B/USD", "C/USD"]
    monkeypatch.setattr(day_plots, "PANELS", 2)
    figure = plots.volume(opened).figure()
    assert [panel["title"]["text"] for panel in figure.to_dict()["vconcat"]] == ["B/USD", "C/USD"]
    assert "the 2 of 3 pairs with the most trades" in title(figure)


@pytest.mark.parametrize("count", [1, 300])
def test_days_fill_the_width_however_few_they_are(archive: Written, opened: Archive, count: int) -> None:
    archive.append([trade(n, LONG_AGO_US + n * DAY_US) for n in (1, count)])
    for draw in (plots.coverage, plots.volume):
        chart = draw(opened, stop=LONG_AGO + timedelta(days=count), width=700)
        assert set(found_in(chart.figure().to_dict(), "width")) == {700}


def test_a_file_is_what_its_suffix_says(three: Archive, tmp_path: Path) -> None:
    chart = plots.candles(three, "BTC/USD")
    page, png, svg = (tmp_path / f"x{suffix}" for suffix in plots.SUFFIXES)
    for path in (page, png, svg):
        plots.save(chart, path)
    assert page.read_text(encoding="utf-8") == chart.html()
    assert png.read_bytes().startswith(b"\x89PNG\r\n")
    assert svg.read_text(encoding="utf-8").startswith("<svg")
    assert "BTC/USD in 1m candles" in svg.read_text(encoding="utf-8")


def test_a_chart_is_plain_data_and_can_be_changed(three: Archive) -> None:
    figure = plots.candles(three, "BTC/USD").figure()
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
def test_a_mistake_is_one_sentence(draw: Any, sentence: str, three: Archive) -> None:
    with pytest.raises(UsageError, match=sentence):
        draw(three)


def test_an_archive_without_trades_says_so(opened: Archive, archive: Written) -> None:
    assert archive.data.is_dir()
    for draw in (plots.coverage, plots.volume):
        with pytest.raises(UsageError, match="holds no trade yet"):
            draw(opened)


def test_without_the_extra_pages_are_made_and_a_picture_says_how_to_install_it(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as archive:
        archive.append(minutes(0, 1, 2))
    code = """
import sys
import recorder.cli as c
picture = ["volume", "--out", "x.png"]
for missing, plots in {"altair": (["candles", "BTC/USD"], ["coverage"], picture), "vl_convert": (picture,)}.items():
    sys.modules[missing] = None
    for what in plots:
        sys.argv[1:] = ["plot", *what]
        try:
            c.main()
        except SystemExit as ended:
            print(ended.code)
    del sys.modules[missing]
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["candles-BTC-USD.html", "0", "coverage.html", "0", "2", "2"]
    assert done.stderr == "recorder: pictures need Altair: pip install 'kraken-recorder[plots]'\n" * 2


NAMED = "</script><script>alert(1)</script><!--\u2028\x1b[31m\u202e/USD"


@pytest.mark.parametrize("drawn", ["candles", "coverage", "volume"])
def test_what_is_in_a_name_does_not_run(archive: Written, opened: Archive, tmp_path: Path, drawn: str) -> None:
    def draw(pair: str) -> Chart:
        return plots.candles(opened, pair) if drawn == "candles" else getattr(plots, drawn)(opened, pairs=[pair])

    archive.append(minutes(0, 1, 2, pair=NAMED))
    archive.append(minutes(0, 1, 2))
    chart, usual = draw(NAMED), draw("BTC/USD")
    assert "alert(1)" in chart.html()
    for harm in ("<script", "</script", "<!--", "\u2028", "\x1b", "\u202e"):
        assert chart.html().count(harm) == usual.html().count(harm), harm
    assert "<script" not in chart._repr_html_()
    assert "<script>alert" not in chart.figure().to_html()  # as Altair shows it in a notebook
    plots.save(chart, tmp_path / "x.svg")
    assert "<script" not in (tmp_path / "x.svg").read_text(encoding="utf-8")


def test_a_chart_of_ones_own_is_a_page_in_which_no_text_runs(tmp_path: Path) -> None:
    figure = alt.Chart(alt.InlineData(values=[{"a": 1}]), title=NAMED, height=300).mark_point().encode(x="a:Q")
    chart = plots.framed(figure, height=345)
    page = chart.html()
    assert "<script>alert" not in page
    assert "\\u003cscript\\u003ealert(1)" in page
    assert '"editor": false' in page
    assert not any(f'{attribute}="{scheme}' in page for attribute in ("src", "href") for scheme in ("http", "//"))
    assert "height:345px;width:100%" in chart._repr_html_()
