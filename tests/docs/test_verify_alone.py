"""docs/verify_alone.py says what the recorder says, and imports nothing of it."""

from __future__ import annotations

import ast
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from recorder.core.certificate import DAY_US
from recorder.core.evidence import Promise
from recorder.core.model import Event
from tests.archives import START_US, Written, trade, writing
from tests.docs.alone import PROGRAM, alone, by_recorder, printed, told

HOUR_US = DAY_US // 24
ODD_US = (-719_162 * DAY_US, 0, 366 * DAY_US, 365 * 132 * DAY_US)
"""Times of the years 1, 1970, 1971 and 2101, at which nothing can have been traded."""


def assert_same(data: Path) -> list[dict[str, Any]]:
    today = None
    while today != datetime.now(UTC).date():  # midnight may come between the two
        today = datetime.now(UTC).date()
        one, other = printed(data), by_recorder(data)
    assert one == other
    return other


def fill(archive: Written, random: Random, pair: str) -> None:
    """Archive a pair at random: gaps, void, unreadable and disowned ids, confirmations, some of which are wrong, and
    times that step back or are odd.
    """
    time_us, held, odd = START_US + random.randrange(48) * HOUR_US, [], random.choice((0, 0, 0.1))
    first = random.choice((1, 1, 40))
    for trade_id in range(first, first + 40):
        time_us += random.choice((-1, 0, 1, 3, 20)) * HOUR_US
        price = random.choice(("0.000000000001", "100", "63501.60", "1e-8"))
        if random.random() < 0.8:
            made_us = random.choice(ODD_US) if random.random() < odd else time_us
            held.append(trade(trade_id, made_us, price, random.choice(("1.00000000", "0.00000001", "250")), pair=pair))
    random.shuffle(held)
    for start in range(0, len(held), 15):
        archive.promises[pair] = random.choice((None, None, a_promise(random, first)))
        archive.append(held[start : start + 15])
    for _ in range(6):
        low = random.randrange(1, first + 45)
        archive.noted(told("void", pair, first_id=low, last_id=low + random.randrange(4)))
        until_us = START_US + random.randrange(400) * HOUR_US
        archive.noted(told("confirmed", pair, last_id=random.randrange(first + 41), until_us=until_us))
        archive.noted(told(random.choice(("disowned", "reclaimed")), pair, **claim(random, first)))
        low = random.randrange(1, first + 60)
        archive.noted(told("unreadable", pair, first_id=low, last_id=low + random.randrange(2), row="[null]"))
    if random.random() < 0.4:
        renumbered(archive, random, pair)
    archive.noted(Event(START_US, "connected", None, "{}"))
    for _ in range(random.choice((0, 0, 3, 9))):
        archive.noted(told("certified", pair, **certified(random, first)))
    promise(archive, random, pair, first)


def certified(random: Random, first: int) -> dict[str, int | str]:
    """Say that a day was certified: mostly what it never held, so that something has vanished or differs."""
    low, rows = random.randrange(1, first + 45), random.randrange(1, 5)
    day = str(datetime.fromtimestamp(START_US / 1e6, UTC).date() + timedelta(days=random.randrange(-2, 9)))
    ids = {"first_id": low, "last_id": low + rows - 1}
    return {"day": day, "revision": random.randrange(1, 3), "rows": rows, **ids, "sha256": f"{low:064x}"}


def a_promise(random: Random, first: int) -> Promise:
    time_us, after_id = START_US + random.randrange(-48, 200) * HOUR_US, random.choice((None, 0, first - 1, first + 5))
    return Promise(time_us, after_id, after_id is not None and random.random() < 0.3)


def claim(random: Random, first: int) -> dict[str, int | str]:
    """Say that some ids are disowned, or no more; now and then at the same moment as others."""
    low = random.randrange(1, first + 45)
    ids = {"first_id": low, "last_id": low + random.randrange(9)}
    return {**ids, "time_us": START_US + random.randrange(4), "reason": "disowned"}


def renumbered(archive: Written, random: Random, pair: str) -> None:
    """Note that a pair is numbered anew, and perhaps no more; then some of what was noted before may not count."""
    for _ in range(random.randrange(1, 4)):
        moment_us = START_US + random.choice((-1, 0, 2, 3))
        if random.random() < 0.6:
            from_us = START_US + random.randrange(200) * HOUR_US
            archive.noted(told("renumbered", pair, first_id=1, last_id=2, time_us=moment_us, from_us=from_us))
        else:
            archive.noted(told("numbering_settled", pair, time_us=moment_us, anew=random.random() < 0.5))


def promise(archive: Written, random: Random, pair: str, first: int) -> None:
    """Note promises and anchors at random, or none; also of a pair without trades."""
    for _ in range(random.randrange(3)):
        time_us = START_US + random.randrange(-48, 200) * HOUR_US
        archive.noted(told("promised", pair, time_us=time_us))
        for _ in range(random.randrange(3)):
            after_id, assumed = random.choice((0, first - 1, random.randrange(first + 45))), random.random() < 0.3
            anchored_us = time_us + random.choice((-1, 0, 0, 0, 30)) * HOUR_US
            archive.noted(told("anchored", pair, time_us=anchored_us, after_id=after_id, assumed=assumed))


@pytest.mark.parametrize("seed", range(8))
def test_it_gives_the_same_certificates_as_the_recorder(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    with writing(tmp_path) as archive:
        for pair in ("BTC/USD", "ETH/EUR", "1000SATS/USD", "SOL/USD"):
            fill(archive, random, pair)
        promise(archive, random, "NEW/USD", 1)
        if seed % 2:
            archive.compact()
        if seed:  # one reads a file for each event, as many take long to read
            archive.merge("events")
        statuses = {one["status"] for one in assert_same(tmp_path)}
    assert {"open", "pending"} <= statuses


def test_days_without_anything_missing_are_complete_or_empty(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append([trade(trade_id, START_US + (trade_id // 3) * 2 * DAY_US) for trade_id in range(1, 30)])
        until_us = (int(datetime.now(UTC).timestamp()) + 86_400) * 1_000_000
        archive.noted(told("confirmed", "BTC/USD", last_id=29, until_us=until_us))
        statuses = {one["status"] for one in assert_same(tmp_path)}
    assert statuses == {"complete", "empty", "pending"}


@pytest.mark.parametrize("odd_us", [-62_135_596_800_000_000, 0, 4_176_528_432_123_456])
@pytest.mark.parametrize("place", [1, 3, 5])
def test_a_trade_with_an_odd_time_has_a_day_of_its_own(tmp_path: Path, odd_us: int, place: int) -> None:
    with writing(tmp_path) as archive:
        for pair in ("BTC/USD", "ETH/EUR"):
            times_us = {trade_id: START_US + trade_id * HOUR_US for trade_id in (1, 2, 3, 5)} | {place: odd_us}
            archive.append([trade(trade_id, time_us, pair=pair) for trade_id, time_us in times_us.items()])
        archive.noted(told("promised", "ETH/EUR", time_us=START_US))
        archive.noted(told("anchored", "ETH/EUR", time_us=START_US, after_id=1, assumed=False))
        assert len(assert_same(tmp_path)) < 1_500


def test_a_pair_that_is_copied_into_another_archive_keeps_its_promise(tmp_path: Path) -> None:
    with writing(tmp_path / "one") as archive, writing(tmp_path / "other") as other:
        archive.promises["BTC/USD"] = Promise(START_US, 2)
        archive.append([trade(trade_id, START_US + trade_id * 8 * HOUR_US) for trade_id in (5, 6, 7)])
        shutil.copytree(archive.layout.pair_dir("BTC/USD"), other.layout.pair_dir("BTC/USD"))
        found = {one["day"]: (one["status"], one["missing"], one["promised"]) for one in assert_same(other.data)}
    days = [str(datetime.fromtimestamp(START_US // 1_000_000, UTC).date() + timedelta(days=day)) for day in range(3)]
    assert found[days[0]] == ("open", 2, "2025-11-10T12:00:00.000000Z"), "ids 3 and 4 were promised"
    assert [found[day][0] for day in days[1:]] == ["open", "open"], "nor is it confirmed that none came since"


def test_an_archive_without_trades_has_no_certificates(tmp_path: Path) -> None:
    with writing(tmp_path):
        assert assert_same(tmp_path) == []


def test_a_file_that_does_not_hold_what_its_footer_claims_is_named(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append([trade(trade_id) for trade_id in (1, 2, 5)])
        (path,) = archive.files()
        content = path.read_bytes()
        path.write_bytes(content.replace(b"[[1,2,", b"[[1,3,"))
        said = alone(tmp_path)
    assert (said.returncode, said.stderr) == (1, f"{path} does not hold what its footer claims\n")


def test_it_is_short_and_needs_pyarrow_alone() -> None:
    text = PROGRAM.read_text(encoding="utf-8")
    assert text.count("\n") < 150
    nodes = list(ast.walk(ast.parse(text)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    others = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    assert others == {"pyarrow"}
