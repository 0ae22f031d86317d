from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest

from recorder.archive import quarantine
from recorder.archive.layout import Layout
from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.core.trade_ids import Span
from recorder.disk import Disk
from recorder.journal import segment
from tests.archive.rows import PAIR, archive, ids, trade
from tests.powercut import PowerCut, PowerLoss, Unsynced, lay

LINE = segment.encode(7, "ws:trade:1", b'{"price":1.500}').rstrip(b"\n")
KEPT = (
    QuarantinedRow(7, Reason.PARKED, LINE, PAIR, (Span(5, 6), Span(9, 9)), "too far"),
    QuarantinedRow(5, Reason.MALFORMED, b"\xff no journal line\r\n at all", why="no number"),
)


def put(data: Path, disk: Disk, *kept: QuarantinedRow) -> Path:
    staging = data / ".staging"
    staging.mkdir(parents=True, exist_ok=True)
    return Quarantine(Layout(data), disk, staging=staging).add(kept)


def test_what_is_kept_comes_back_byte_for_byte_in_the_order_in_which_it_came(tmp_path: Path) -> None:
    path = put(tmp_path, Unsynced(), *KEPT)
    assert path.parent == tmp_path / "quarantine"
    assert list(quarantine.listed(Layout(tmp_path))) == [KEPT[1], KEPT[0]]
    assert LINE in path.read_bytes()


def test_what_comes_again_after_a_crash_lies_there_already(tmp_path: Path) -> None:
    assert put(tmp_path, Unsynced(), *KEPT) == put(tmp_path, Unsynced(), *KEPT)
    assert put(tmp_path, Unsynced(), KEPT[0]) != put(tmp_path, Unsynced(), *KEPT)
    assert len(list((tmp_path / "quarantine").iterdir())) == 2


def test_lines_and_bytes_are_counted_by_reason_also_where_they_cannot_be_read(tmp_path: Path) -> None:
    assert quarantine.sizes(Layout(tmp_path)) == {}
    path = put(tmp_path, Unsynced(), *KEPT)
    (path.parent / "spoilt.jsonl").write_bytes(b'?\n{"recv_ns":1,"reason":"parked","ids":[[2,1]]}\n')
    sizes = quarantine.sizes(Layout(tmp_path))
    assert {reason: lines for reason, (lines, _) in sizes.items()} == {"malformed": 1, "parked": 1, "unreadable": 2}
    assert sum(size for _, size in sizes.values()) == sum(p.stat().st_size for p in path.parent.iterdir())


def test_plain_journal_lines_of_earlier_releases_are_listed_as_malformed(tmp_path: Path) -> None:
    (tmp_path / "quarantine").mkdir()
    (tmp_path / "quarantine" / "0.jsonl").write_bytes(LINE + b"\n")
    assert list(quarantine.listed(Layout(tmp_path))) == [QuarantinedRow(7, Reason.MALFORMED, LINE)]


def test_replayed_rows_are_archived_once_however_often_and_stay_kept(tmp_path: Path) -> None:
    with archive(tmp_path) as opened:
        opened.append(PAIR, [trade(1)])
        Quarantine(opened.layout, opened.disk, staging=opened.staging).add(KEPT)
        for added in ([Span(2, 2)], []):
            kept = [one for one in quarantine.listed(opened.layout) if one.reason == Reason.PARKED]
            assert quarantine.replay(kept, opened, lambda _: [trade(1), trade(2)]) == {PAIR: added}
    assert ids(tmp_path) == [1, 2]
    assert len(list(quarantine.listed(Layout(tmp_path)))) == 2


@pytest.mark.parametrize("again", [False, True])
def test_wherever_the_power_fails_the_file_is_whole_or_not_there(tmp_path: Path, *, again: bool) -> None:
    for cut_at in itertools.count(1):
        data = tmp_path / f"cut-{cut_at}"
        (data / ".staging").mkdir(parents=True)
        disk = PowerCut(data, cut_at=cut_at)
        done = False
        with contextlib.suppress(PowerLoss):
            for _ in range(1 + again):
                put(data, disk, *KEPT)
            done = True
        for number, tree in enumerate(disk.aftermaths()):
            left = tmp_path / f"after-{cut_at}-{number}"
            lay(tree, left)
            kept = list(quarantine.listed(Layout(left)))
            assert kept in ([], [KEPT[1], KEPT[0]])
            assert kept or not done
        if done:
            return
