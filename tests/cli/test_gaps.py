from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from recorder.cli.gaps import gaps, iso
from recorder.core.model import Event
from recorder.errors import UsageError
from tests.archives import START_US, trades, writing


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An archive with a hole and a void id in one pair, and none in another."""
    with writing(tmp_path) as archive:
        archive.append([*trades(3, 5), *trades(109_500_001, 109_500_002), *trades(1, 2, pair="ETH/USD")])
        archive.noted(Event(START_US, "void", "BTC/USD", '{"first_id":1,"last_id":2}'))
    return tmp_path


def test_an_open_hole_is_listed_and_the_exit_code_is_1(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        gaps(data, pair=None, as_json=False)
    assert ended.value.exit_code == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    said = [" ".join(line.split()) for line in lines]
    assert "BTC/USD 1..2 2 void" in said
    assert "BTC/USD 6..109500000 109,499,995 2025-11-10 12:00:05 1267d 8h open" in said
    assert said[-1] == "2 pairs: 1 hole, 109,499,995 missing"


def test_a_pair_without_holes_is_fine(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gaps(data, pair=["ETH/USD", "eth-usd"], as_json=False)
    assert capsys.readouterr() == ("1 pair: no holes\n", "recorder: eth-usd is taken for ETH/USD\n")
    gaps(data, pair=["ETH/USD"], as_json=True)
    assert json.loads(capsys.readouterr().out) == []
    with pytest.raises(UsageError, match="did you mean BTC/USD"):
        gaps(data, pair=["BTC/USS"], as_json=False)


def test_a_damaged_file_hides_its_pair_alone_and_is_named_with_what_to_do(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = min((data / "trades" / "pair=BTC%2FUSD").rglob("*.parquet"))
    path.write_bytes(b"cut")
    gaps(data, pair=["ETH/USD"], as_json=False)
    assert capsys.readouterr().err == ""
    for pair in (None, ["BTC/USD"]):
        with pytest.raises(typer.Exit) as ended:
            gaps(data, pair=pair, as_json=False)
        assert ended.value.exit_code == 1
        said = capsys.readouterr()
        assert said.err.startswith(f"recorder: {path} is not a complete Parquet file")
        assert "move it out of the archive" in said.err
        assert said.out.startswith("1 pair: no holes" if pair is None else "0 pairs")


def test_json_has_the_columns_of_the_view(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        gaps(data, pair=None, as_json=True)
    void, hole = json.loads(capsys.readouterr().out)
    assert void == {
        "pair": "BTC/USD",
        "first_id": 1,
        "last_id": 2,
        "missing": 2,
        "after_time": None,
        "before_time": "2025-11-10T12:00:03.000000Z",
        "state": "void",
    }
    assert (hole["first_id"], hole["missing"], hole["state"]) == (6, 109_499_995, "open")


def test_a_moment_is_told_to_its_last_digit() -> None:
    assert iso(START_US + 1) == "2025-11-10T12:00:00.000001Z"
    assert iso(None) is None
