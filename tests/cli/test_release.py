"""``recorder release`` lets go what is missing, and nothing else."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recorder.archive import load_ledger
from recorder.cli import app
from recorder.core import evidence
from recorder.core.certificate import DAY_US
from recorder.core.evidence import Anchored, Promised
from recorder.core.ledger import Ledger
from recorder.core.model import Event
from recorder.query.connect import connect
from tests.archives import START_US, Written, trade, writing
from tests.docs.alone import alone, by_recorder, certify

PAIR = "BTC/USD"
YEARS_US = 365 * DAY_US


def run(*args: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*args])
    return done.exit_code, done.stdout + (str(done.exception) if done.exception else "")


def days(data: Path) -> dict[date, dict[str, Any]]:
    return {date.fromisoformat(one["day"]): one for one in by_recorder(data) if one["status"] != "pending"}


def statuses(data: Path) -> list[str]:
    """The status of each day with trades, held or certified: as verify, the program alone, and SQL say."""
    told = days(data)
    by_program = {one["day"]: one for one in json.loads(alone(data).stdout)["certificates"]}
    assert {str(day): one for day, one in told.items()}.items() <= by_program.items()
    with connect(data) as opened:
        rows = opened.certificates(hashed=True, to="arrow").to_pylist()
    assert {row["day"]: row["status"] for row in rows if row["status"] != "pending"} == {
        day: one["status"] for day, one in told.items()
    }
    certified = {row["day"] for row in rows if row["certified_rows"] is not None}
    return [one["status"] for day, one in sorted(told.items()) if one["rows"] or day in certified]


@pytest.fixture
def archive(tmp_path: Path) -> Any:
    """Three years, a file each; ids 1 to 4 in 2023, 5 to 8 in 2024, 9 to 12 in 2025; all days certified."""
    with writing(tmp_path / "data") as written:
        begins_us = START_US - 2 * YEARS_US
        for known in (Promised(PAIR, begins_us), Anchored(PAIR, begins_us, 0)):
            written.noted(Event(START_US, evidence.kind(known), PAIR, json.dumps(evidence.detail(known))))
        for year in range(3):
            ids = range(year * 4 + 1, year * 4 + 5)
            written.append(
                [trade(one, begins_us + year * YEARS_US + ((one - 1) % 4) * 6 * 3_600_000_000) for one in ids]
            )
        yield written


def ledger(archive: Written) -> Any:
    found = Ledger()
    load_ledger.load(found, archive.layout, [])
    return found.of(PAIR)


def test_what_vanished_below_all_is_missing_until_it_is_released(archive: Written) -> None:
    certify(archive, PAIR)
    before = days(archive.data)
    shutil.rmtree(archive.layout.year_dir(PAIR, 2023))
    assert run("verify", "--data", str(archive.data))[0] == 1
    first = days(archive.data)[min(before)]
    assert first["why"][-1].startswith("certified with 2 rows, ids 1 to 2, SHA-256 ")
    said = CliRunner().invoke(app, ["status", "--data", str(archive.data), "--json"])
    assert (said.exit_code, json.loads(said.stdout)["vanished"]) == (1, {PAIR: 4})
    assert statuses(archive.data)[0] == "open"
    assert run("gaps", "--data", str(archive.data))[0] == 1
    account = ledger(archive)
    assert [gap.span.first for gap in account.gaps()] == [1]
    assert account.fetchable_gaps() == ()

    assert run("release", PAIR, "1", "12", "--data", str(archive.data))[1].startswith("BTC/USD: 4 ids released; 8 of")
    assert {one["state"] for one in json.loads(run("gaps", "--json", "--data", str(archive.data))[1])} == {"disowned"}
    after = days(archive.data)
    assert {day: one["status"] for day, one in after.items()} == {day: one["status"] for day, one in before.items()}
    assert statuses(archive.data)
    assert ledger(archive).gaps() == ()
    assert run("release", PAIR, "1", "12", "--data", str(archive.data))[0] != 0


def test_a_whole_year_is_reported_and_single_ids_between_held_ones_are_fetched(archive: Written) -> None:
    certify(archive, PAIR)
    year = archive.layout.year_dir(PAIR, 2024)
    shutil.move(year, archive.data.parent / "aside")
    account = ledger(archive)
    assert [str(gap.span) for gap in account.gaps()] == ["5..8"]
    assert account.fetchable_gaps() == ()
    assert account.given_up().count() == 4
    assert "open" in statuses(archive.data)
    archive.append([trade(5, START_US - YEARS_US + 6 * 3_600_000_000)])
    assert [str(gap.span) for gap in ledger(archive).fetchable_gaps()] == ["6..8"], "something of the year is there"


def test_a_whole_pair_is_missed(archive: Written) -> None:
    certify(archive, PAIR)
    shutil.rmtree(archive.layout.pair_dir(PAIR))
    assert set(statuses(archive.data)) == {"open"}
    code, said = run("status", "--data", str(archive.data))
    assert (code, "12 ids" in said) == (1, True)
    assert run("verify", "--data", str(archive.data))[0] == 1
    assert run("gaps", "--data", str(archive.data))[0] == 1
    account = ledger(archive)
    assert account.given_up().count() == 12
    assert account.fetchable_gaps() == ()
    assert run("release", PAIR, "1", "12", "--data", str(archive.data))[0] == 0
    assert ledger(archive).gaps() == ()


def test_other_rows_under_the_same_ids_open_their_day(archive: Written) -> None:
    certify(archive, PAIR)
    calm = statuses(archive.data)
    path = next(path for path in archive.files() if "year=2023" in str(path))
    with writing(archive.data.parent / "other") as other:
        first_us = START_US - 2 * YEARS_US
        other.append([trade(one, first_us + ((one - 1) % 4) * 6 * 3_600_000_000, "7") for one in range(1, 5)])
        path.unlink()
        shutil.copy(other.files()[0], path.with_name(other.files()[0].name))
    found = statuses(archive.data)
    assert found != calm
    assert found[0] == "open"
    assert run("verify", "--data", str(archive.data))[0] == 1


def test_a_reversed_range_and_one_without_missing_ids_are_refused(archive: Written) -> None:
    assert "reversed" in run("release", PAIR, "5", "4", "--data", str(archive.data))[1]
    assert "is missing" in run("release", PAIR, "13", "900", "--data", str(archive.data))[1], "they may come yet"
