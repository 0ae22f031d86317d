from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from recorder.cli import verify as module
from recorder.cli.verify import lines, verify
from recorder.core.absent_ids import AbsentIds
from recorder.core.certificate import DAY_US, certificates
from recorder.core.model import Event
from recorder.core.trade_ids import Span, Spans
from recorder.errors import CorruptFile, NoSuchArchive, UsageError
from recorder.ops.certificates import PairCertificates
from tests.archives import START, START_US, Written, candle, silent, trade, writing
from tests.core.certified import certified
from tests.end_to_end.harness import as_others_are

NOON_US = DAY_US // 2


def run(data: Path, **options: Any) -> int:
    """Run the verb; return its exit code."""
    chosen = {"pair": None, "first": None, "last": None, "ohlc": False, "as_json": False, **options}
    try:
        verify(data, **chosen)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def fill(archive: Written, *ids: int, pair: str = "BTC/USD") -> None:
    """Archive trades, id ``n`` made ``n`` quarters of a day after START."""
    archive.append([trade(trade_id, START_US + trade_id * DAY_US // 4, pair=pair) for trade_id in ids])


def test_days_in_a_row_are_summed_up_and_open_ones_say_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with writing(tmp_path) as archive:
        fill(archive, *range(1, 18), *range(19, 31))
        fill(archive, 7, 8, pair="1000SATS/USD")
    assert run(tmp_path) == 1
    said = capsys.readouterr().out.splitlines()
    assert max(map(len, said)) <= 80
    told = [" ".join(line.split()) for line in said]
    assert "BTC/USD 2025-11-10 to 2025-11-13 complete 13" in told
    assert "2025-11-14 open 4 1 missing" in told
    assert "2025-11-15 open 3 1 missing" in told
    assert "2025-11-16 to 2025-11-17 complete 8" in told
    assert any(line.startswith("2025-11-18 open 1 not confirmed") for line in told)
    assert any(line.startswith("2025-11-19 to ") and line.endswith(" open 0 not confirmed") for line in told)
    assert "1000SATS/USD 2025-11-12 open 2 begins inside, not" in told
    assert " ".join(told[-2:]).strip().endswith("2 of them with trades missing")


def test_an_archive_of_which_nothing_wanted_lacks_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path) as archive:
        fill(archive, *range(5, 31))
    assert run(tmp_path) == 0
    assert "missing" not in capsys.readouterr().out
    fresh = tmp_path / "fresh"
    with writing(fresh):
        pass
    assert run(fresh) == 0
    assert capsys.readouterr().out == "0 pairs, 0 trades: 0 days proven, 0 open\n"


@pytest.mark.parametrize(
    ("wanted", "code"), [("nothing", 0), ("listing", 1), ("2025-11-01", 1), ("2025-11-11", 1), ("2025-11-12", 0)]
)
def test_history_that_the_configuration_wants_must_be_there(tmp_path: Path, wanted: str, code: int) -> None:
    with writing(tmp_path / "data") as archive:
        fill(archive, *range(5, 31))
    chosen = tmp_path / "mine.yaml"
    chosen.write_text(f"trades: {{backfill_from: {wanted}}}", encoding="utf-8")
    assert run(tmp_path / "data", config_file=chosen) == code


def remedy_told(data: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is told to do about the one file that is damaged, both to people and to programs."""
    assert run(data) == 1
    said = capsys.readouterr().out
    assert said.endswith("1 file not sound\n")
    assert run(data, as_json=True) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["file"] == str(path)
    assert f"{path} {finding['problem']}: {finding['remedy']}\n" in said
    return str(finding["remedy"])


def test_a_file_that_is_not_sound_is_told_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path) as archive:
        fill(archive, *range(5, 31))
        (path,) = archive.files()
        path.write_bytes(path.read_bytes()[:-1])
    assert "its ids are then a hole" in remedy_told(tmp_path, path, capsys)


def test_damaged_candles_are_told_with_what_is_true_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path) as archive:
        fill(archive, *range(5, 31))
        archive.published([candle(minute) for minute in range(50)])
    assert run(tmp_path) == 0
    (path,) = (tmp_path / "ohlc" / "timeframe=1m" / "year=2025").glob("*.parquet")
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    capsys.readouterr()
    assert "`ohlc_filled` builds them from trades" in remedy_told(tmp_path, path, capsys)
    assert run(tmp_path, pair=["BTC/USD"]) == 0, "no certificate rests on candles"
    with pytest.raises(CorruptFile, match=rf"^{re.escape(str(path))} is damaged: .*merge a back-up"):
        run(tmp_path, ohlc=True)


def test_a_damaged_file_of_events_is_told_of_an_archive_without_trades_too(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.noted(Event(START_US, "connected", None, "{}"))
    (path,) = (tmp_path / "events" / "year=2025").glob("*.parquet")
    path.write_bytes(b"")
    assert run(tmp_path) == 1


def test_json_has_a_certificate_of_every_day_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path) as archive:
        fill(archive, *range(1, 31))
        fill(archive, 1, pair="ETH/USD")
    first, last = "2025-11-12", "2025-11-13"
    assert run(tmp_path, as_json=True, pair=["BTC/USD"], first=first, last=last) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["findings"] == []
    day, after = content["certificates"]
    text = "".join(f"{trade_id},100,1,buy\n" for trade_id in range(6, 10))
    assert day == {
        "pair": "BTC/USD",
        "day": "2025-11-12",
        "status": "complete",
        "first_id": 6,
        "last_id": 9,
        "rows": 4,
        "promised": None,
        "missing": 0,
        "void": 0,
        "disowned": 0,
        "unreadable": 0,
        "first_time": "2025-11-12T00:00:00.000000Z",
        "last_time": "2025-11-12T18:00:00.000000Z",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "why": [],
    }
    assert after["day"] == "2025-11-13"
    assert run(tmp_path, as_json=True, pair=["ETH/USD"], last="2025-11-11") == 0
    days = json.loads(capsys.readouterr().out)["certificates"]
    assert [(one["status"], one["rows"], one["sha256"] is None, one["why"]) for one in days] == [
        ("open", 1, False, ["not confirmed"]),
        ("open", 0, True, ["not confirmed"]),
    ]


def test_what_cannot_be_answered_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoSuchArchive):
        run(tmp_path / "nowhere")
    with writing(tmp_path) as archive:
        fill(archive, 1)
    with pytest.raises(UsageError, match="reversed"):
        run(tmp_path, first="2025-11-12", last="2025-11-11")
    with pytest.raises(UsageError, match="did you mean BTC/USD"):
        run(tmp_path, pair=["BTC/USS"])


def test_lines_gather_what_is_the_same() -> None:
    days = certified(
        {1: NOON_US, 2: DAY_US + NOON_US, 3: 3 * DAY_US + NOON_US, 7: 7 * DAY_US, 8: 8 * DAY_US, 9: 9 * DAY_US},
        now_us=11 * DAY_US,
        confirmed=[(9, 10 * DAY_US)],
    )
    told = [((line.last - line.first).days + 1, line.status, line.rows, line.notes) for line in lines(days)]
    assert told == [
        (3, "complete", 2, ["1 empty"]),
        (1, "open", 1, ["3 missing"]),
        (3, "open", 0, ["3 missing"]),
        (1, "open", 1, ["3 missing"]),
        (2, "complete", 2, []),
        (1, "open", 0, ["not confirmed"]),
        (1, "pending", 0, ["not confirmed"]),
    ]


def test_void_ids_are_told_where_they_would_lie() -> None:
    days = certified({1: 0, 4: 1, 5: DAY_US, 6: 2 * DAY_US}, now_us=2 * DAY_US, void=[(2, 3)])
    assert [(line.status, line.notes) for line in lines(days)] == [
        ("complete", ["2 void"]),
        ("complete", []),
        ("pending", ["not confirmed"]),
    ]


def test_sums_are_kept_and_certificates_are_not() -> None:
    seen = module._Seen(None)
    days = certified({1: 0, 3: 1, 4: DAY_US, 5: 2 * DAY_US}, now_us=2 * DAY_US)
    seen.take(PairCertificates("A/B", days, []))
    assert (seen.pairs, seen.trades, seen.proven, seen.open, seen.lacking) == (1, 4, 1, 1, 1)
    assert certificates("A/B", [], {}, now_us=0, absent=AbsentIds(Spans([Span(1, 2)]))) == []


def minutely(*ids: int) -> list[object]:
    return [trade(trade_id, START_US + trade_id * 60_000_000) for trade_id in ids]


def test_candles_that_differ_are_told_apart_by_what_explains_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = [candle(minute, "100", "100", "100", "100", "100", "1", 1) for minute in range(1, 12)]
    with writing(tmp_path) as archive:
        archive.listed("BTC/USD", 1)
        archive.append(minutely(1, 2, 3, 5, 6, 7, 9, 10))  # type: ignore[arg-type]
        archive.published([*whole, silent(0, "100")])
        archive.published([candle(6, "100", "101", "100", "100", "100", "1", 1)], seen=START + timedelta(hours=1))
    # 4 and 8 are holes, 6 was revised, 11 reaches beyond the last trade; nothing is before id 1.
    assert run(tmp_path, ohlc=True) == 0
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "pair candles compared equal hole revised edge unexplained" in said
    assert "BTC/USD 1m 12 8 2 1 1 0" in said
    with writing(tmp_path / "b") as archive:
        archive.listed("BTC/USD", 1)
        archive.append(minutely(*range(1, 11)))  # type: ignore[arg-type]
        archive.published([*whole[:4], candle(5, "100", "100", "99", "100", "100", "1", 1), *whole[5:9]])
    assert run(tmp_path / "b", ohlc=True) == 1
    told = capsys.readouterr().out
    assert "BTC/USD 1m: the first unexplained candle begins at 2025-11-10 12:05:00+00:00, and differs in low;" in told
    assert run(tmp_path / "b", ohlc=True, as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == [
        {
            "pair": "BTC/USD",
            "timeframe": "1m",
            "compared": 9,
            "equal": 8,
            "hole": 0,
            "revised": 0,
            "edge": 0,
            "unexplained": 1,
        }
    ]


def promised(archive: Written, *, after_id: int | None = None, pair: str = "BTC/USD") -> None:
    """Note a promise of six hours after START, and its anchor if it has one."""
    time_us = START_US + DAY_US // 4
    archive.noted(Event(START_US, "promised", pair, json.dumps({"time_us": time_us})))
    if after_id is not None:
        detail = {"time_us": time_us, "after_id": after_id, "assumed": False}
        archive.noted(Event(START_US, "anchored", pair, json.dumps(detail)))


def test_the_day_of_the_promise_is_partial_and_says_from_when_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path) as archive:
        promised(archive, after_id=4)
        fill(archive, *range(5, 31))
    assert run(tmp_path) == 0
    said = capsys.readouterr().out
    told = " ".join(said.split())
    assert "BTC/USD 2025-11-10 partial 0 begins inside," in told
    assert "promised" in told
    assert ", 1 partial, " in said


def test_promised_trades_below_the_first_one_held_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path) as archive:
        promised(archive, after_id=2)
        fill(archive, *range(5, 31))
    assert run(tmp_path) == 1
    assert "2 missing" in capsys.readouterr().out


def test_a_pair_without_an_anchor_or_a_trade_is_shown_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path) as archive:
        promised(archive, pair="NEW/USD")
    assert run(tmp_path) == 1
    assert "1 pair unanchored: NEW/USD" in capsys.readouterr().out
    assert run(tmp_path, as_json=True, pair=["NEW/USD"]) == 1
    assert json.loads(capsys.readouterr().out)["unanchored"] == ["NEW/USD"]
    with writing(tmp_path) as archive:
        promised(archive, after_id=0, pair="NEW/USD")
    assert run(tmp_path) == 0


def test_folders_that_can_be_listed_and_not_entered_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path) as archive:
        fill(archive, 1)
        archive.published([candle(0)])
    pair = archive.layout.pair_dir("BTC/USD")
    for folder in (
        pair,
        next(pair.iterdir()),
        tmp_path / "ohlc/timeframe=1m",
        tmp_path / "ohlc/timeframe=1m/year=2025",
    ):
        folder.chmod(0o444)
        with as_others_are():
            assert run(tmp_path) == 1
        folder.chmod(0o755)
        assert str(folder) in capsys.readouterr().out.replace("\n", "")
