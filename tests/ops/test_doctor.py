from __future__ import annotations

import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from recorder import disk
from recorder.archive import schema_versions
from recorder.archive.layout import Layout
from recorder.archive.locks import hold
from recorder.archive.parquet import FileFacts
from recorder.clock import SystemClock
from recorder.config import Config, ExchangeConfig
from recorder.disk import Room
from recorder.errors import ConfigError, UnreadableFile
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.ops import doctor
from recorder.ops.doctor import CheckResult
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.builders import PAIR, T0_US, Shop, frame, shop, trades
from tests.clocks import ManualClock
from tests.example_dataset import register

NOW_US = T0_US + 1_000_000


@contextmanager
def unchanged(data: Path) -> Iterator[None]:
    """Check that what is below the folder stays as it is."""

    def seen() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [data, *data.rglob("*")]}

    before = seen()
    yield
    assert seen() == before


def told(found: list[CheckResult], level: str) -> list[str]:
    return [finding.says for finding in found if finding.level == level]


def well(found: list[CheckResult]) -> bool:
    return {finding.level for finding in found} == {"ok"}


def filled(opened: Shop) -> Path:
    opened.archive.append(PAIR, trades(1, 10))
    (path,) = opened.layout.trade_files(PAIR)
    return path


def test_an_archive_that_is_sound_is_said_to_be_and_nothing_of_it_is_touched(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        filled(opened)
        opened.journal.append([segment.encode(1, "ws:trade:1", frame(1, 2), parsed=True)])
    layout = Layout(tmp_path)
    with unchanged(tmp_path):
        found = doctor.archive(layout, now_us=NOW_US)
        assert told(found, "ok") == ["1 files, whose footers are whole; `recorder verify` reads every row"]
        assert told(doctor.journal(layout), "ok") == ["2 lines, 0.0 MB, all of them whole"]
        for part in (found, doctor.journal(layout), doctor.space(tmp_path), doctor.permissions(layout)):
            assert well(part), part


def test_where_no_archive_is_that_is_no_fault(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "a" / "b")
    with unchanged(tmp_path):
        assert [finding.level for finding in doctor.archive(layout, now_us=NOW_US)] == ["note"]
        assert well(doctor.journal(layout))
        assert well(doctor.space(layout.data))
        assert well(doctor.permissions(layout))
    (tmp_path / "a").touch()
    assert well(doctor.space(layout.data))
    assert well(doctor.permissions(layout))
    (found,) = doctor.archive(Layout(tmp_path / "a"), now_us=NOW_US)
    assert (found.level, found.says) == ("wrong", f"{tmp_path / 'a'} is a file, and an archive is a folder")


def test_what_this_user_may_not_read_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop(tmp_path) as opened:
        path = filled(opened)

    def closed(path: Path) -> FileFacts:
        refused = PermissionError(13, "Permission denied", str(path))
        raise UnreadableFile(path, "Permission denied", "") from refused

    monkeypatch.setattr(doctor, "read_facts", closed)
    found = doctor.archive(Layout(tmp_path), now_us=NOW_US)
    assert told(found, "wrong") == [f"{path} cannot be read: Permission denied, so that BTC/USD is quarantined"]
    assert "that this user may read it" in found[0].remedy


@pytest.mark.parametrize("content", [b"junk", None], ids=["damaged", "cut"])
def test_a_file_without_a_sound_footer_is_named(tmp_path: Path, content: bytes | None) -> None:
    with shop(tmp_path) as opened:
        path = filled(opened)
    path.write_bytes(path.read_bytes()[:-3] if content is None else content)
    found = doctor.archive(Layout(tmp_path), now_us=NOW_US)
    (said,) = told(found, "wrong")
    assert said.startswith(f"{path} is not a complete Parquet file")
    assert not told(found, "ok")


def test_files_that_lie_in_the_wrong_place_or_twice_are_named(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        path = filled(opened)
        elsewhere = opened.layout.year_dir("ETH/USD", 2026)
        elsewhere.mkdir(parents=True)
        (elsewhere / path.name).write_bytes(path.read_bytes())
        (path.parent / "copy.parquet").write_bytes(path.read_bytes())
        (tmp_path / "ohlc" / "timeframe=1m" / "year=2026").mkdir(parents=True)
        (tmp_path / "ohlc" / "timeframe=1m" / "year=2026" / path.name).write_bytes(path.read_bytes())
    said = told(doctor.archive(Layout(tmp_path), now_us=NOW_US), "wrong")
    assert "10 ids of BTC/USD lie in two files, which only happens by hand" in said
    misplaced = "says it holds trades of BTC/USD, and lies among trades of ETH/USD"
    assert [text.split(": ")[0] for text in said if "lies among" in text] == [
        f"{elsewhere / path.name} {misplaced}, so that ETH/USD is quarantined",
        f"{tmp_path}/ohlc/timeframe=1m/year=2026/{path.name} says it holds trades, and lies among ohlc",
    ]


def test_a_schema_of_another_age_and_a_table_without_its_first_file_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop(tmp_path) as opened:
        with monkeypatch.context() as patch:
            patch.setitem(cast("dict[str, int]", schema_versions.SCHEMA_VERSIONS), "trades", 7)
            opened.archive.append(PAIR, trades(1, 3))
        (tmp_path / "events" / "year=1970" / "schema.parquet").unlink()
    found = doctor.archive(Layout(tmp_path), now_us=NOW_US)
    assert "has schema version 7" in told(found, "wrong")[0]
    assert "upgrade the recorder" in next(finding.remedy for finding in found if finding.level == "wrong")
    assert "events/year=1970/schema.parquet is missing" in told(found, "note")[0]


def test_a_trade_that_cannot_have_been_made_yet_tells_of_a_clock_that_is_behind(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        filled(opened)
    found = doctor.archive(Layout(tmp_path), now_us=T0_US - 61_000_000)
    assert [finding.area for finding in found if finding.level == "wrong"] == ["clock"]
    assert well(doctor.archive(Layout(tmp_path), now_us=T0_US - 59_000_000))


def test_a_torn_tail_is_no_fault_and_corrupt_lines_are(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.journal.append([segment.encode_note(1, "connected"), segment.encode_note(2, "connected")])
        layout = opened.layout
    (path,) = segment.segments(layout.journal)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with unchanged(tmp_path):
        found = doctor.journal(layout)
    assert [said.endswith("ends in the middle of a line, as after a crash") for said in told(found, "note")] == [True]
    assert told(found, "ok") == ["2 lines, 0.0 MB, all of them whole"]
    with hold(layout.lock):
        assert well(doctor.journal(layout)), "a recorder is writing it"
        assert doctor.holder(layout.lock) == os.getpid()
    assert doctor.holder(layout.lock) is None
    assert doctor.holder(tmp_path / "none") is None
    path.write_bytes(whole.replace(b"connected", b"connectex", 1))
    (layout.raw / "000000000000.corrupt").write_bytes(b"x\n")
    found = doctor.journal(layout)
    assert told(found, "wrong") == [f"{path} has 1 lines that fail their checksum"]
    assert told(found, "note")[0].startswith("1 segment had corrupt lines, which lie in 000000000000.corrupt")


def test_every_journal_that_an_entry_of_the_registry_names_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, journal="journal_market")
    with shop(tmp_path) as opened:
        opened.journal.append([segment.encode_note(1, "connected")])
        market = Journal(tmp_path, opened.disk, staging=tmp_path, now_ns=1, journal="journal_market")
        market.append([segment.encode_note(1, "connected")])
        market.close()
    layout = opened.layout
    assert told(doctor.journal(layout), "ok") == ["4 lines, 0.0 MB, all of them whole"]
    (path,) = segment.segments(layout.journal_dir("journal_market"))
    path.write_bytes(path.read_bytes()[:-5])
    with hold(layout.journal_lock("journal_market")):
        assert well(doctor.journal(layout)), "a recorder is writing it"
    assert told(doctor.journal(layout), "note") == [f"{path} ends in the middle of a line, as after a crash"]
    layout.raw_dir("journal_market").chmod(0o777)
    assert told(doctor.permissions(layout), "wrong")[0].endswith("raw_market (drwxrwxrwx)")


@pytest.mark.parametrize(
    ("free", "level", "word"),
    [(1_000_000_000_000, "ok", "are free"), (1_900_000_000, "wrong", "that is low"), (1_000, "wrong", "too little")],
)
def test_room_is_held_against_the_marks_of_the_recorder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str, word: str
) -> None:
    monkeypatch.setattr(disk, "room", lambda _: Room(free, 1_000_000_000_000))
    (said, *_) = told(doctor.space(tmp_path), level)
    assert word in said


def test_inodes_read_only_mounts_and_file_systems_that_lack_something_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = SimpleNamespace(f_files=1000, f_favail=9, f_flag=os.ST_RDONLY)
    monkeypatch.setattr(doctor, "_file_system", lambda _: "nfs4")
    with monkeypatch.context() as patch:
        patch.setattr(disk, "room", lambda _: Room(10**12, 10**12))
        patch.setattr(os, "statvfs", lambda _: nodes)
        found = doctor.space(tmp_path)
    assert "9 of 1,000 inodes" in told(found, "wrong")[0]
    assert "read-only" in told(found, "wrong")[1]
    assert "is on nfs4, a file system of another machine" in told(found, "note")[0]
    monkeypatch.setattr(doctor, "_file_system", lambda _: "vfat")
    assert "is on vfat, which may not swap" in told(doctor.space(tmp_path), "note")[0]

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert "knows no locks" in told(doctor.space(tmp_path), "wrong")[0]


def test_the_file_system_of_a_path_is_that_of_the_deepest_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"/dev/a / ext4 rw 0 0\nb {tmp_path}/with\\040blank fuse.b rw 0 0\nc {tmp_path}/with\\040blanks x rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)
    assert doctor._file_system(tmp_path) == "ext4"
    assert doctor._file_system(tmp_path / "with blank" / "data") == "fuse.b"


def test_folders_that_others_may_write_and_this_user_may_not_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop(tmp_path) as opened:
        layout = opened.layout
    layout.raw.chmod(0o777)
    (said,) = told(doctor.permissions(layout), "wrong")
    assert said == f"everybody can write to {layout.raw} (drwxrwxrwx)"
    layout.raw.chmod(0o755)
    monkeypatch.setattr(os, "access", lambda path, _: path != layout.journal)
    (said,) = told(doctor.permissions(layout), "wrong")
    assert said.startswith(f"this user cannot read and write {layout.journal}")
    # On a mount that takes no writes, which is said with the disk, reading is all that is asked.
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    monkeypatch.setattr(os, "access", lambda _, wanted: not wanted & os.W_OK)
    assert told(doctor.permissions(layout), "wrong") == []


def test_versions_are_held_against_the_lower_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert well(doctor.versions())
    monkeypatch.setattr(metadata, "requires", lambda _: ["pyarrow<27,>=26", "rich>=15.2", "zz>=1", "x>=9; extra"])
    monkeypatch.setattr(doctor, "_installed", {"pyarrow": "26.0.0", "rich": "15.1.9rc1", "zz": ""}.__getitem__)
    assert told(doctor.versions(), "wrong") == [
        "rich is 15.1.9rc1; 15.2 or later is needed",
        "zz is not installed; 1 or later is needed",
    ]

    def nowhere(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "metadata", nowhere)
    assert [finding.level for finding in doctor.versions()] == ["note"]


def test_the_configuration_is_named_or_its_fault_is() -> None:
    assert doctor.configuration(None, Path("a.yaml"))[0].says == "a.yaml is in force"
    assert doctor.configuration(None, None)[0].level == "ok"
    (finding,) = doctor.configuration(ConfigError("pairs is 7: write pairs"), None)
    assert (finding.level, finding.says) == ("wrong", "pairs is 7: write pairs")


async def test_an_exchange_that_answers_is_fine_and_so_is_the_clock() -> None:
    clock = SystemClock()
    sandbox = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock)
    async with sandbox.serve():
        config = Config(exchange=ExchangeConfig(rest_url=sandbox.rest_url, ws_url=sandbox.ws_url))
        found = await doctor.exchange(config, clock)
        assert well(found), found
        assert {finding.area for finding in found} == {"reachability", "clock"}
        behind = ManualClock(clock.wall_ns() - 3_600_000_000_000)
        (said,) = told(await doctor.exchange(config, behind), "wrong")
        found_s = re.fullmatch(r"this host's clock is ([\d.]+) s behind the exchange's", said)
        assert found_s is not None
        assert 3540 < float(found_s[1]) < 3660
        sandbox.faults.refuse()
        assert len(told(await doctor.exchange(config, clock), "wrong")) == 2


async def test_an_exchange_that_cannot_be_reached_or_never_answers_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ANSWER_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connections wait in its backlog for good
        address = "{}:{}".format(*listener.getsockname())
        config = Config(exchange=ExchangeConfig(rest_url=f"http://{address}", ws_url=f"ws://{address}"))
        first, second = told(await doctor.exchange(config, SystemClock()), "wrong")
    assert first == f"http://{address} did not answer within 0 s"
    assert second == f"ws://{address} did not answer within 0 s"
    refused = told(await doctor.exchange(config, SystemClock()), "wrong")
    assert len(refused) == 2
    assert all(said.startswith("cannot reach ") for said in refused)
