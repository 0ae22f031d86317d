from __future__ import annotations

from pathlib import Path

import pytest

from recorder.core.model import Span
from recorder.errors import NoSuchArchive
from recorder.journal import segment
from recorder.ops import status
from tests.tasks.support import PAIR, T0_US, frame, shop, trades


def test_archive_and_journal_are_counted_together_and_each_id_once(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        opened.archive.append(PAIR, trades(21, 30))
        opened.archive.append("ETH/USD", trades(5, 6, pair="ETH/USD"))
        opened.journal.append(
            [
                segment.encode(1, "ws:trade:1", frame(28, 34), parsed=True),
                segment.encode(1, "ws:unreadable:1", b"?"),
                segment.encode(1, "ws:trade:1", b'{"channel":"trade"}'),
            ]
        )
        btc, eth = status.read(tmp_path)
    assert btc.pair == PAIR
    assert (btc.rows, btc.journalled) == (24, 4)
    assert (btc.first_id, btc.last_id) == (1, 34)
    assert (btc.first_us, btc.last_us) == (T0_US + 1000, T0_US + 34_000)
    assert btc.holes == (Span(11, 20),)
    assert (eth.rows, eth.journalled, eth.holes) == (2, 0, ())


def test_an_empty_archive_has_no_pairs_and_no_archive_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with shop(tmp_path / "data"):
        assert status.read(tmp_path / "data") == []
    with pytest.raises(NoSuchArchive, match="recorder run"):
        status.read(tmp_path / "nowhere")
