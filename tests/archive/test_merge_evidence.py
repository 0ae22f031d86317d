"""Taking over what another archive knows about ids; most of it is tested with the command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from recorder.archive import disown
from recorder.archive.layout import Layout
from recorder.archive.merge_evidence import MergedEvidence, TakenOver
from recorder.archive.merged_files import remembered
from recorder.core.evidence import Joined, joined_after
from tests.archive import rows as archives
from tests.archives import START_US, trades
from tests.powercut import Unsynced


@pytest.mark.parametrize(
    ("here", "known", "taken"),
    [
        ((5, 9), [], 4),
        ((5, 9), [20], 4),
        ((5, 9), [2], None),
        ((5, 9), [4], None),
        ((6, 9), [], None),
    ],
    ids=["new", "lower than ours", "higher than ours", "the same", "of trades that did not come"],
)
def test_what_their_owner_joined_is_joined_here_once_its_trades_are(
    tmp_path: Path, here: tuple[int, int], known: Sequence[int], taken: int | None
) -> None:
    pair = "BTC/USD"
    with archives.archive(tmp_path / "b", Unsynced()) as theirs:
        disown.note(theirs, [Joined(pair, 4, START_US)], now_us=START_US)
    with archives.archive(tmp_path / "a", Unsynced()) as ours:
        ours.append(pair, trades(*here))
        disown.note(ours, [Joined(pair, one, START_US) for one in known], now_us=START_US)
        with remembered(ours, Layout(tmp_path / "b")) as files:
            for expected in (taken is not None, False):
                evidence = MergedEvidence(ours, Layout(tmp_path / "b"), files)
                assert evidence.take(pair, now_us=START_US) == TakenOver(days=0, void=0, joined=expected)
        assert joined_after(ours.claimed.claims(pair)) == min(
            [*known, *([] if taken is None else [taken])], default=None
        )
