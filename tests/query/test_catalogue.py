from __future__ import annotations

import importlib.resources
import re
import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from recorder.archive.datasets import WITHOUT_IDS
from recorder.errors import UsageError
from recorder.query import catalogue
from tests.archives import trades, writing

QUERIES = Path(__file__).parents[2] / "queries"
OURS = sorted(
    path.relative_to(QUERIES).with_suffix("").as_posix()
    for folder in ("macros", "views", "sources/plain", "sources/snapshot")
    for path in (QUERIES / folder).glob("*.sql")
)


def test_every_view_and_macro_is_loaded_and_nothing_else() -> None:
    assert sorted({*catalogue.plain(), *catalogue.snapshot()}) == OURS
    assert len(catalogue.snapshot()) == len(set(catalogue.snapshot()))


def test_a_file_is_loaded_after_the_files_it_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = tmp_path / "recorder" / "_queries"
    shutil.copytree(QUERIES, packaged)
    (packaged / "macros" / "a.sql").write_text("-- f(1) FROM z\nCREATE OR REPLACE MACRO a(x) AS TABLE FROM\n    b;")
    (packaged / "views" / "b.sql").write_text("CREATE OR REPLACE VIEW b AS\nSELECT c(pair) FROM z, events;")
    (packaged / "views" / "z.sql").write_text("CREATE OR REPLACE VIEW z AS\nFROM trades;")
    (packaged / "macros" / "z.sql").write_text("CREATE OR REPLACE MACRO c(x) AS x;\nCREATE OR REPLACE MACRO z() AS a;")
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path / "recorder")
    monkeypatch.setattr(catalogue, "_ordered", catalogue._ordered.__wrapped__)
    for names in (catalogue.plain(), catalogue.snapshot()):
        mine = ("views/z", "macros/z", "views/b", "macros/a")
        places = [names.index(name) for name in mine]
        assert places[0] < places[2] < places[3]
        assert places[1] < places[2]
        assert len(names) == len(set(names))


def test_what_names_files_is_there_for_the_files_there_are_and_for_those_of_a_moment() -> None:
    plain, snapshot = (
        {
            name.rpartition("/")[2]: set(re.findall(r"CREATE OR REPLACE (?:MACRO|VIEW) (\w+)", catalogue.text(name)))
            for name in OURS
            if name.startswith(f"sources/{kind}/")
        }
        for kind in ("plain", "snapshot")
    )
    assert snapshot.pop("moment") == {"recorder_at_moment"}, "only files that outlive their moment must be cut"
    archived = {f"recorder_archived_{table.name}" for table in WITHOUT_IDS}
    assert archived <= snapshot["stored"], "only a connection has a journal, and tells its rows from those in files"
    snapshot["stored"] -= archived
    assert snapshot == plain


def test_only_what_recorder_connect_alone_asks_is_left_out_of_the_script() -> None:
    ours = [name for name in OURS if not name.startswith("sources/snapshot/")]
    assert [name for name in ours if name not in catalogue.plain()] == ["macros/candles_of"]


@pytest.mark.parametrize("name", OURS)
def test_every_file_begins_with_its_question_and_its_parameters(name: str) -> None:
    first, *rest = catalogue.text(name).splitlines()
    assert first.startswith("-- ")
    assert "?" in first
    assert rest[0] == "--"
    assert rest[1].startswith("-- ")
    assert "(" in rest[1] or "recorder_" in rest[1]


@pytest.mark.parametrize("path", sorted((QUERIES / "analysis").glob("*.sql")), ids=lambda path: path.stem)
def test_every_analysis_begins_with_its_question_and_typed_parameters(path: Path) -> None:
    first, blank, *rest = path.read_text().splitlines()
    assert first.startswith("-- ")
    assert first.endswith("?")
    assert blank == "--"
    header = [line for line in rest if line.startswith("-- $")]
    body = "\n".join(line for line in rest if not line.startswith("--"))
    parameters = catalogue.question(path.stem).parameters
    assert [f"${one.name}" for one in parameters] == [line.split()[1] for line in header]
    assert {f"${one.name}" for one in parameters} == set(re.findall(r"\$\w+", body))
    assert all(one.help for one in parameters)
    for one in parameters:
        if one.default is not None:
            one.value(one.default)


OFFERED = ["bulk_audit", "candle_audit", "dollar_bars", "tick_bars", "time_bars", "volume_bars"]


@pytest.mark.parametrize("name", OFFERED)
def test_a_macro_offered_by_name_is_called_with_its_own_parameters_and_defaults(name: str) -> None:
    offered = catalogue.question(name)
    (signature,) = re.findall(rf"^CREATE OR REPLACE MACRO {name}\((.*)\) AS TABLE$", macros(), re.MULTILINE)
    parts = [part.partition(" := ") for part in signature.split(", ")]
    assert [one.name for one in offered.parameters] == [part for part, _, _ in parts]
    for one, (_, _, default) in zip(offered.parameters, parts, strict=True):
        assert not default or one.default == default
    assert ", ".join(f"${one.name}" for one in offered.parameters) in offered.text


def test_no_comment_that_means_to_offer_a_macro_is_passed_over() -> None:
    assert len(re.findall(r"^-- \$pair ", macros(), re.MULTILINE)) == len(OFFERED)


def macros() -> str:
    return "\n".join(path.read_text() for path in (QUERIES / "macros").glob("*.sql"))


def test_the_catalogue_lists_every_analysis_and_offered_macro_with_what_it_asks() -> None:
    listed = catalogue.questions()
    analyses = [path.stem for path in (QUERIES / "analysis").glob("*.sql")]
    assert [one.name for one in listed] == sorted([*analyses, *OFFERED])
    vwap = next(one for one in listed if one.name == "vwap")
    assert vwap.asks.startswith("What was the price")
    assert [(one.name, one.kind, one.default) for one in vwap.parameters] == [
        ("pair", "VARCHAR", None),
        ("width", "INTERVAL", "1 hour"),
        ("start", "TIMESTAMPTZ", "NULL"),
        ("stop", "TIMESTAMPTZ", "NULL"),
    ]


def test_parameters_are_bound_by_type_and_left_out_ones_have_their_defaults() -> None:
    given = {"pair": "BTC/USD", "start": "2025-11-10", "filled": "true"}
    assert catalogue.question("time_bars").bound(given) == {
        "pair": "BTC/USD",
        "width": "1 hour",
        "start": datetime(2025, 11, 10, tzinfo=UTC),
        "stop": None,
        "origin": None,
        "filled": True,
    }
    assert catalogue.question("volume_bars").bound({"pair": "A/B", "size": "0.1"})["size"] == Decimal("0.1")
    assert catalogue.question("tick_bars").bound({"pair": "A/B", "size": 7})["size"] == 7
    assert catalogue.question("correlation").bound({})["pairs"] is None
    assert catalogue.question("correlation").bound({"pairs": "A/B,C/D"})["pairs"] == ["A/B", "C/D"]


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("wvap", {}, "there is no query 'wvap'; did you mean vwap?"),
        ("vol", {}, "there is no query 'vol'; did you mean volatility or volume_bars or volume_profile?"),
        ("?", {}, "there is no query .*; use one of bulk_audit, candle_audit, certificates"),
        ("vwap", {}, "vwap needs pair, VARCHAR: the v2 symbol"),
        ("vwap", {"pair": "A/B", "wdith": "1 hour"}, "no parameter 'wdith'; did you mean width"),
        ("vwap", {"pair": "A/B", "width": "banana"}, "width = 'banana' is no INTERVAL: the length of a bar"),
        ("vwap", {"pair": "A/B", "start": "yesterday"}, "'yesterday' is no time"),
        ("tick_bars", {"pair": "A/B", "size": "1.5"}, "size = '1.5' is no BIGINT: how many trades"),
        ("volume_bars", {"pair": "A/B", "size": "nan"}, "size = 'nan' is no DECIMAL"),
        ("time_bars", {"pair": "A/B", "filled": "maybe"}, "filled = 'maybe' is no BOOLEAN"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(name: str, given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        catalogue.question(name).bound(given)


def test_the_script_begins_in_utc_and_needs_nothing_but_itself(tmp_path: Path) -> None:
    # Everything in this name is special to a glob or to SQL.
    folder = tmp_path / "it's [a] *strange* {folder}?"
    with writing(folder) as archive:
        archive.append(trades(1, 3))
        script = catalogue.script(folder)
        assert script.startswith("SET TimeZone='UTC';")
        with duckdb.connect() as client:
            client.execute(script)
            assert client.execute("SELECT count(*), sum(count)::INT FROM candles('BTC/USD', '1h')").fetchall() == [
                (1, 3)
            ]
            assert client.execute("SELECT rows FROM coverage").fetchall() == [(3,)]
            assert client.execute("FROM gaps").fetchall() == []


def test_the_plain_sql_needs_no_option_that_came_with_duckdb_2() -> None:
    # `recorder views` is for any client; allow_empty is the newest option that would be of use here.
    assert not any("allow_empty" in catalogue.text(name) for name in catalogue.plain())


def test_an_installed_wheel_brings_its_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = tmp_path / "recorder" / "_queries" / "views"
    packaged.mkdir(parents=True)
    (packaged / "trades.sql").write_text("-- from the wheel")
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path / "recorder")
    assert catalogue.text("views/trades") == "-- from the wheel"
