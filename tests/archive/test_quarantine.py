from __future__ import annotations

from pathlib import Path

from recorder.archive import quarantine
from recorder.archive.files import Layout
from tests.powercut import PowerCut, Unsynced

LINES = (b"what came\n", b"and why it is kept\n")


def test_lines_are_kept_in_a_file_of_their_own_each_time(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    paths = [quarantine.keep(layout, Unsynced(), *LINES) for _ in range(2)]
    assert len(set(paths)) == 2
    assert {path.read_bytes() for path in paths} == {b"".join(LINES)}
    assert {path.parent for path in paths} == {tmp_path / "quarantine"}


def test_what_is_kept_outlives_a_power_cut_from_then_on(tmp_path: Path) -> None:
    disk = PowerCut(tmp_path)
    path = quarantine.keep(Layout(tmp_path), disk, *LINES)
    for tree in disk.aftermaths():
        kept = tree["quarantine"]
        assert isinstance(kept, dict)
        assert kept[path.name] == b"".join(LINES)
