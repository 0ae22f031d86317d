"""What needs no engine but polars. `make engines` runs all of them, and compares every answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import recorder
from recorder.cli import app
from recorder.core import evidence
from recorder.core.evidence import Promise, Void
from recorder.core.model import Event
from recorder.core.trade_ids import Span
from recorder.errors import UsageError
from recorder.query import engine_views
from recorder.query.engine_views import Engine
from tests.archives import MINUTE_US, START, START_US, trade, trades, writing

ANCHOR = 4
"""The id before the first of BTC/USD, made a minute before it: so its first bar may be complete."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with an anchored promise, a void id, an unexplained hole, and prices cut to one decimal."""
    folder = tmp_path_factory.mktemp("engines") / "data"
    void = Void("BTC/USD", Span(100, 100))
    with writing(folder) as archive:
        archive.promises["BTC/USD"] = Promise(START_US - MINUTE_US, ANCHOR)
        rows = [
            trade(one, START_US + one * 2_000_000, f"100.{one:03d}123456789", f"0.{one:08d}")
            for one in range(ANCHOR + 1, 400)
            if one not in {100, 200}
        ]
        archive.append(rows)
        archive.append(trades(1, 3, pair="ETH/USD"))
        archive.listed("BTC/USD", 1, START)
        archive.noted(Event(START_US, evidence.kind(void), void.pair, json.dumps(evidence.detail(void))))
    return folder


@pytest.mark.parametrize("engine", Engine)
def test_the_printed_text_names_the_folder_and_the_ids_that_have_no_row(engine: Engine, data: Path) -> None:
    told = CliRunner().invoke(app, ["views", "--engine", engine, "--data", str(data)], catch_exceptions=False)
    assert told.exit_code == 0
    rows = re.findall(r"BTC/USD.*?(\d+), (\d+), (\w+)[\])]", told.stdout)
    assert [(first, last) for first, last, _ in rows] == [(str(ANCHOR + 1), str(ANCHOR)), ("100", "100")]
    assert [time_us.upper().replace("NONE", "NULL") for *_, time_us in rows] == [str(START_US - MINUTE_US), "NULL"]
    assert str(data) in told.stdout
    assert "$data/" not in told.stdout
    if engine is not Engine.POLARS:
        created = re.findall(r"^CREATE OR REPLACE (?:TEMPORARY )?VIEW (\w+) AS$", told.stdout, re.MULTILINE)
        assert created == ["trades", "known_ids", "unknown_ids", "candles"]


def test_polars_gives_the_candles_and_ids_of_this_package(data: Path) -> None:
    views: dict[str, Any] = {}
    exec(engine_views.text(Engine.POLARS, data), views)
    with recorder.connect(data) as archive:
        for pair in ("BTC/USD", "ETH/USD"):
            for timeframe in ("1m", "1h"):
                right = archive.sql(
                    f"SELECT * FROM candles('{pair}', '{timeframe}')", to="arrow", decimals=True
                ).to_pylist()
                assert views["candles"](pair, timeframe).collect().to_dicts() == right
            found = views["unknown_ids"](pair).drop_nulls("last_id").select("first_id", "last_id").collect().rows()
            text = f"SELECT first_id, last_id FROM pair_unknown_ids('{pair}') WHERE before_id IS NOT NULL"
            assert found == [tuple(row.values()) for row in archive.sql(text, to="arrow").to_pylist()]
    complete = views["candles"]("BTC/USD", "1m").collect()["complete"].to_list()
    assert complete[0], "the anchor is of an earlier bar"
    assert complete.count(False) == 2, "one with a hole, and the last"


def test_a_folder_that_engines_take_for_a_pattern_is_refused(data: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a*b"
    odd.symlink_to(data.parent)
    with pytest.raises(UsageError, match=r"'\*' in its name, which spark takes"):
        engine_views.text(Engine.SPARK, odd / "data")


def test_a_database_is_for_duckdb_alone(data: Path, tmp_path: Path) -> None:
    options = ["views", "--engine", "spark", "--data", str(data), "--database", str(tmp_path / "a.duckdb")]
    with pytest.raises(UsageError, match="leave out --engine"):
        CliRunner().invoke(app, options, catch_exceptions=False)
    assert not (tmp_path / "a.duckdb").exists()
