from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.cli.status import WATCH_S, age, status
from recorder.core.evidence import Disowned, Knowledge, Unreadable, Void, detail, kind
from recorder.core.model import Event
from recorder.core.trade_ids import Span
from recorder.errors import UsageError
from recorder.ops import daemon_client
from recorder.ops.daemon_client import DaemonReply
from tests.archives import START_US, candle, writing
from tests.archives import trades as made
from tests.builders import PAIR, shop, trades

PAUSED = {"connect": 600.0, "rest": 5.0}


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDER_OPS__PORT", "0")


STATUS = '{"source":"ws","system":"post_only","upcoming_maintenance":[{"title":"Upgrade"}],"emergency":[]}'


def test_status_names_each_pair_its_rows_and_its_holes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 1000))
        opened.archive.append(PAIR, trades(1201, 1300))
    status(tmp_path, all_pairs=False, as_json=False)
    said = capsys.readouterr().out
    assert PAIR in said
    assert "1,100" in said
    assert "200" in said
    assert "1..1300" in said
    assert max(map(len, said.splitlines())) <= 80
    status(tmp_path, all_pairs=False, as_json=True)
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["holes"] == [{"first_id": 1001, "last_id": 1200, "missing": 200, "state": "open"}]
    assert pair["absent"] == {"unreadable": 0, "void": 0, "disowned": 0}
    assert (pair["rows"], pair["first_id"], pair["last_id"]) == (1100, 1, 1300)
    assert pair["last_time"].endswith("Z")


def test_ids_that_are_unreadable_void_or_disowned_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known: list[Knowledge] = [
        Unreadable(PAIR, Span(4, 5)),
        Void(PAIR, Span(5, 7)),
        Disowned(PAIR, Span(7, 7), START_US, "odd"),
        Unreadable(PAIR, Span(2, 2)),
    ]
    with writing(tmp_path) as archive:
        archive.append([*made(1, 3, pair=PAIR), *made(10, 10, pair=PAIR)])
        archive.noted(*(Event(START_US, kind(one), PAIR, json.dumps(detail(one))) for one in known))
    status(tmp_path, all_pairs=False, as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "1 hole, 2 missing, 2 unreadable, 1 void, 1 disowned" in said
    status(tmp_path, all_pairs=False, as_json=True)
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["absent"] == {"unreadable": 2, "void": 1, "disowned": 1}, "what is held is none of these"


def test_a_damaged_file_is_named_below_all_other_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path) as archive:
        archive.append([*made(1, 3), *made(1, 3, pair="ETH/USD")])
        (path,) = archive.files()
        path.write_bytes(b"cut")
    for as_json in (False, True):
        with pytest.raises(typer.Exit) as ended:
            status(tmp_path, all_pairs=False, as_json=as_json)
        assert ended.value.exit_code == 1
        said = capsys.readouterr().out
        assert "ETH/USD" in said
        assert f"{path} is not a complete Parquet file" in said
        assert "move it out of the archive" in said
        assert "(`received`) is lost" in said
        if as_json:
            (quarantined,) = json.loads(said)["quarantined"].items()
            assert (quarantined[0], quarantined[1]["file"], quarantined[1]["lines"]) == ("BTC/USD", str(path), 0)
        else:
            assert f"BTC/USD is quarantined, for {path} is not a complete Parquet file" in said


def test_candles_the_exchange_and_the_last_events_have_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with writing(tmp_path) as archive:
        archive.append(made(1, 3))
        archive.listed("BTC/USD", 1, status="cancel_only")
        archive.published([candle(0), candle(1), candle(0, pair="ETH/USD")])
        archive.noted(
            Event(START_US - 1, "maintenance", None, STATUS.replace("post_only", "cancel_only")),
            Event(START_US, "maintenance", None, STATUS),
            Event(START_US + 1, "ohlc_lost", "BTC/USD", '{"timeframe":"1m","count":61,"why":"' + "x" * 99 + '"}'),
        )
    status(tmp_path, all_pairs=False, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    said = [" ".join(line.split()) for line in lines]
    assert "not online: BTC/USD cancel_only" in said
    assert any(line.startswith("ohlc 3 rows, the last ") for line in said)
    assert any(line.startswith("1m 2 2025-11-10 ") and line.endswith(" ago 61") for line in said)
    assert "2025-11-10 exchange post_only (ws); Upgrade" in said
    assert "2025-11-10 maintenance cancel_only (ws); Upgrade" in said
    assert any(line.startswith("2025-11-10 ohlc_lost BTC/USD timeframe 1m, count 61, why") for line in said)
    (begins,) = {line.index("BTC/USD timeframe") for line in lines if "ohlc_lost" in line}
    assert {line.index("x") for line in lines if line.strip(" x") == "" and "x" in line} == {begins}
    status(tmp_path, all_pairs=False, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["pairs"][0]["listing"] == "cancel_only"
    (one,) = content["candles"]
    assert (one["timeframe"], one["series"], one["newest"], one["lost"]) == ("1m", 2, "2025-11-10T12:01:00Z", 61)
    newest = {one["table"]: (one["rows"], one["newest"]) for one in content["tables"]}
    assert (newest["quotes"], newest["events"]) == ((0, None), (3, "2025-11-10T12:00:00Z"))
    assert content["exchange"] == [{"time": "2025-11-10T12:00:00Z", **json.loads(STATUS)}]
    assert [event["kind"] for event in content["events"]] == ["maintenance", "maintenance", "ohlc_lost"]
    assert content["events_since"] is None


def test_of_many_pairs_only_those_with_something_to_tell_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path) as archive:
        for number in range(50):
            archive.append(made(1, 3, pair=f"P{number:02d}/USD"))
        archive.append(made(9, 9, pair="P07/USD"))
    status(tmp_path, all_pairs=False, as_json=False)
    said = capsys.readouterr().out
    assert said.count("/USD") == 1
    assert "50 pairs, 151 trades" in said
    assert "1 hole, 5 missing" in said
    assert "the other 49" in said
    status(tmp_path, all_pairs=True, as_json=False)
    assert capsys.readouterr().out.count("/USD") == 50


def test_an_empty_archive_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path):
        pass
    status(tmp_path, all_pairs=False, as_json=False)
    assert capsys.readouterr().out == "No trades are recorded yet.\n no daemon was queried: ops.port is 0\n"


@pytest.mark.parametrize(
    ("us", "text"),
    [(4_200_000, "4s"), (90_000_000, "1m 30s"), (7_200_000_000, "2h 0m"), (200_000_000_000, "2d 7h"), (-5, "0s")],
)
def test_age_is_for_people(us: int, text: str) -> None:
    assert age(us) == text


def test_what_the_daemon_says_is_told_beside_what_is_on_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
    monkeypatch.setattr(
        daemon_client,
        "query_daemon",
        lambda ops, data: DaemonReply(
            True,
            (),
            "9.9",
            "2026-11-20T18:00:00Z",
            quotes={"running": True, "pairs": 2, "books": 1},
            account={"running": True},
        ),
    )
    status(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    at = lines.index(" the daemon records, since 2026-11-20T18:00:00Z (release 9.9)")
    assert lines[at + 1] == " quotes of 2 pairs and books of 1 pair are recorded"
    assert lines[at + 2] == " an account is recorded"
    monkeypatch.setattr(
        daemon_client,
        "query_daemon",
        lambda ops, data: DaemonReply(False, ("no frame came", "and so on"), "9.9", "x", PAUSED, {"running": False}),
    )
    status(tmp_path)
    said = capsys.readouterr().out
    alone = "the exchange is left alone: connect for another 10m 0s, rest for another 5s"
    assert f"the daemon does not record: no frame came; and so on; {alone}" in " ".join(said.split())
    assert PAIR in said
    status(tmp_path, as_json=True)
    daemon = json.loads(capsys.readouterr().out)["daemon"]
    reasons = ["no frame came", "and so on"]
    state = {"answers": True, "recording": False, "reasons": reasons, "since": "x", "paused_s": PAUSED}
    assert daemon == {**state, "quotes": {"running": False}, "account": None}


def test_a_configuration_that_cannot_be_used_keeps_nobody_from_seeing_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORDER_OPS__PORT", "x")
    with writing(tmp_path):
        pass
    status(tmp_path, as_json=True)
    daemon = json.loads(capsys.readouterr().out)["daemon"]
    assert daemon["answers"] is False
    assert "RECORDER_OPS__PORT is 'x'" in daemon["reasons"][0]


def test_status_tells_what_is_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with shop(tmp_path) as opened:
        kept = QuarantinedRow(7, Reason.MALFORMED, b"{}", why="no number")
        path = Quarantine(opened.layout, opened.disk, staging=opened.layout.staging).add([kept])
    status(tmp_path, all_pairs=False, as_json=False)
    assert "quarantine: malformed 1 line, 0.0 MB" in capsys.readouterr().out
    status(tmp_path, all_pairs=False, as_json=True)
    told = json.loads(capsys.readouterr().out)["quarantine"]
    assert told == {"malformed": {"lines": 1, "bytes": path.stat().st_size}}


def test_watching_shows_it_again_until_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(tmp_path) as archive:
        archive.append(made(1, 3))
        naps = iter([None, None])

        def sleep(seconds: float) -> None:
            assert seconds == WATCH_S
            if next(naps, StopIteration) is StopIteration:
                raise KeyboardInterrupt
            archive.append(made(4, 5))

        monkeypatch.setattr("recorder.cli.status.time.sleep", sleep)
        status(tmp_path, watch=True, all_pairs=False, as_json=False)
    said = capsys.readouterr().out
    assert said.count("BTC/USD") == 3
    assert "1..3" in said
    assert "1..5" in said
    with pytest.raises(UsageError, match="leave out --json"):
        status(tmp_path, watch=True, all_pairs=False, as_json=True)
