from __future__ import annotations

from pathlib import Path

import pytest

from recorder.archive import read_trades
from recorder.archive.layout import Layout
from recorder.cli.disown import disown, parsed
from recorder.core.trade_ids import Span, Spans
from recorder.errors import NoSuchArchive, UsageError
from recorder.ops import missing_ids, process_setup
from tests.archives import trades, writing


@pytest.fixture(autouse=True)
def unprepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process as it is; the verb has one of its own."""
    monkeypatch.setattr(process_setup, "prepare", lambda: None)


def run(data: Path, *ids: str, pair: str = "BTC/USD", undo: bool = False) -> None:
    disown(pair, list(ids), undo=undo, reason="odd", data=data, config_file=None)


def held(data: Path) -> list[int]:
    return sorted(row.trade_id for row in read_trades.trades(Layout(data), "BTC/USD"))


def test_ids_and_ranges_are_let_go_and_taken_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path) as archive:
        archive.append(trades(1, 12))
    run(tmp_path, "2", "7-9")
    assert capsys.readouterr().out == f"BTC/USD: 4 ids disowned; 4 rows moved to {tmp_path / 'quarantine'}\n"
    assert held(tmp_path) == [1, 3, 4, 5, 6, 10, 11, 12]
    assert [(str(gap.span), gap.state) for gap in missing_ids.read(tmp_path)["BTC/USD"]] == [
        ("2..2", "disowned"),
        ("7..9", "disowned"),
    ]
    run(tmp_path, "8-10", pair="XBTUSD")
    said, note = capsys.readouterr()
    assert note == "recorder: XBTUSD is taken for BTC/USD\n"
    assert "1 id disowned; 1 row moved" in said
    assert said.endswith("; 2 were disowned already\n")
    run(tmp_path, "1-12", undo=True)
    assert "5 ids disowned no more; 5 rows archived again" in capsys.readouterr().out
    assert held(tmp_path) == list(range(1, 13))
    assert missing_ids.read(tmp_path)["BTC/USD"] == []


@pytest.mark.parametrize("text", ["", "0", "-3", "9-7", "7-", "x", "1-9223372036854775808", "1,2", "²"])
def test_what_names_no_ids_is_refused(tmp_path: Path, text: str) -> None:
    with writing(tmp_path) as archive:
        archive.append(trades(1, 3))
    with pytest.raises(UsageError, match="names no ids"):
        run(tmp_path, "1", text)
    assert held(tmp_path) == [1, 2, 3]


def test_ids_may_overlap_and_come_in_any_order() -> None:
    assert parsed(["7-12", "3", "9-14", "9223372036854775807"]) == Spans(
        [Span(3, 3), Span(7, 14), Span(2**63 - 1, 2**63 - 1)]
    )


def test_a_pair_or_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSuchArchive):
        run(tmp_path / "nowhere", "1")
    with writing(tmp_path) as archive:
        archive.append(trades(1, 3))
    with pytest.raises(UsageError, match="ETH/USD"):
        run(tmp_path, "1", pair="ETH/USD")
