from __future__ import annotations

import json
from pathlib import Path

import pytest

from recorder.cli.status import age, status
from tests.tasks.support import PAIR, shop, trades


def test_status_names_each_pair_its_rows_and_its_holes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 1000))
        opened.archive.append(PAIR, trades(1201, 1300))
    status(tmp_path, as_json=False)
    said = capsys.readouterr().out
    assert PAIR in said
    assert "1,100" in said
    assert "200" in said
    assert "1..1300" in said
    assert max(map(len, said.splitlines())) <= 80
    status(tmp_path, as_json=True)
    (pair,) = json.loads(capsys.readouterr().out)
    assert pair["holes"] == [{"first_id": 1001, "last_id": 1200, "missing": 200}]
    assert (pair["rows"], pair["first_id"], pair["last_id"]) == (1100, 1, 1300)
    assert pair["last_time"].endswith("Z")


@pytest.mark.parametrize(
    ("us", "text"),
    [(4_200_000, "4s"), (90_000_000, "1m 30s"), (7_200_000_000, "2h 0m"), (200_000_000_000, "2d 7h"), (-5, "0s")],
)
def test_age_is_for_people(us: int, text: str) -> None:
    assert age(us) == text
