"""Diagnosis of an installation: configuration, archive, journal, disk, clock, reachability, permissions and versions.

Reads only: it creates nothing, takes no lock that another process waits for, and may run beside the recorder. Each
check returns findings; a problem comes with its remedy.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from recorder import disk
from recorder.archive import duplicate_files, integrity
from recorder.archive.datasets import DATASETS, SCHEMA_FILE, Branch, Dataset, journals
from recorder.archive.integrity import check_place
from recorder.archive.layout import Layout
from recorder.archive.parquet import SET_APART, FileFacts, read_facts
from recorder.clock import Clock
from recorder.config import Config
from recorder.core.disk_limits import disk_limits
from recorder.core.safe_text import without_credentials
from recorder.core.throttling import Pace
from recorder.core.trade_ids import Spans
from recorder.errors import (
    CorruptLine,
    DiskError,
    ExchangeError,
    UnlistedFolder,
    UnsoundFile,
)
from recorder.journal import segment
from recorder.journal.journal import CORRUPT_SUFFIX
from recorder.kraken import rest_api, wire
from recorder.net.http import Http, client_session, proxy_for
from recorder.net.websocket import dial
from recorder.ops.exchange_clock import ClockOffset

Level = Literal["ok", "note", "wrong"]

ANSWER_S: Final = 5.0
"""Timeout for each of the two answers: a person is waiting."""
OFFSET_S: Final = 5.0
"""Beyond this offset of the host's clock, receive times are wrong. Less is not certain: ``Date`` counts whole seconds,
and the edge repeats an answer for two (API.md 2)."""
AHEAD_US: Final = 60_000_000
"""A trade recorded this much later than now cannot have been made yet."""
DISTRIBUTION: Final = "kraken-recorder"
_SWAPPING: Final = frozenset(("ext4", "xfs", "btrfs", "tmpfs", "f2fs", "overlay", "bcachefs"))
"""Linux file systems that swap two directories in one step."""
_REMOTE: Final = frozenset(("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs", "ceph"))
_VERIFY: Final = "`recorder verify` reads every row"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one check. ``remedy`` describes what to do; empty if nothing is to be done."""

    area: str
    level: Level
    says: str
    remedy: str = ""


def configuration(error: Exception | None, path: Path | None) -> list[CheckResult]:
    """Check whether the configuration at ``path`` (None: there is no file) could be loaded."""
    area = "configuration"
    if error is not None:
        return [CheckResult(area, "wrong", str(error), "fix it; `recorder config` prints what is in force")]
    return [
        CheckResult(area, "ok", f"{path} is in force" if path else "no config.yaml here: the defaults are in force")
    ]


def readable(area: str, look: Callable[[], list[CheckResult]]) -> list[CheckResult]:
    """Return the results of ``look``, or what it could not read."""
    try:
        return look()
    except PermissionError as error:
        detail = f"this user cannot read {error.filename}"
        return [
            CheckResult(area, "wrong", detail, "run as the archive's owner, and give all of it to that one: chown -R")
        ]
    except (UnlistedFolder, UnsoundFile) as error:
        return [CheckResult(area, "wrong", f"{error.file} {error.problem}", error.remedy)]


def archive(layout: Layout, *, now_us: int) -> list[CheckResult]:
    """Check the layout and every footer, but no rows."""
    area = "archive"
    if layout.data.exists() and not layout.data.is_dir():
        detail = f"{layout.data} is a file, and an archive is a folder"
        return [CheckResult(area, "wrong", detail, "name another one, with --data or archive.path")]
    if not layout.exists:
        return [CheckResult(area, "note", f"there is no archive at {layout.data} yet", "`recorder run` makes one")]
    found: list[CheckResult] = []
    for dataset in DATASETS:
        born = layout.schema_file(dataset)
        with contextlib.suppress(UnlistedFolder), disk.listing(born.parent):  # which is reported below
            if not born.exists():
                detail = f"{born} is missing, and without any file other tools cannot read the table"
                found.append(CheckResult(area, "note", detail, "start the recorder, which makes it"))
    held = older = 0
    newest_us = 0
    for dataset in DATASETS:
        of_table: list[FileFacts] = []
        for branch in _branches(layout, dataset, found):
            facts, damaged = _facts(layout, branch)
            of_table += facts
            found += damaged
            older += sum(file.footer.is_old for file in facts)
            held += len(facts)
            if dataset.has_ids:
                found += _twice(str(branch.value), facts)
                newest_us = max([newest_us, *(run.last_us for file in facts for run in file.footer.runs)])
        found += _of_table(layout, dataset, of_table)
    found = list(dict.fromkeys(found)) + _older(older)
    if newest_us > now_us + AHEAD_US:
        when = datetime.fromtimestamp(newest_us // 1_000_000, UTC)
        detail = f"the newest trade was made at {when:%Y-%m-%d %H:%M:%S} UTC, which this host's clock has not reached"
        found.append(CheckResult("clock", "wrong", detail, "set the clock, by NTP"))
    if not any(finding.level == "wrong" and finding.area == area for finding in found):
        detail = f"{held:,} files, whose footers are whole"
        found.append(CheckResult(area, "ok", f"{detail}; {_VERIFY}"))
    return found


def _branches(layout: Layout, dataset: Dataset, found: list[CheckResult]) -> list[Branch]:
    try:
        return layout.branches(dataset)
    except SET_APART as error:
        found.append(CheckResult("archive", "wrong", f"{error.file} {error.problem}", error.remedy))
        return []


def _older(files: int) -> list[CheckResult]:
    detail = f"{files:,} files are of an older schema version, which SQL may not be able to read"
    return [CheckResult("archive", "note", detail, "let the recorder run, which rewrites them")] if files else []


def _facts(layout: Layout, branch: Branch) -> tuple[list[FileFacts], list[CheckResult]]:
    """Return the footers of a branch, and the problems of its files."""
    costs = f", so that {branch.value} is quarantined" if branch.dataset.has_ids else ""

    def look() -> tuple[list[FileFacts], list[CheckResult]]:
        facts: list[FileFacts] = []
        found: list[CheckResult] = []
        for path in layout.files(branch):
            try:
                if path.name != SCHEMA_FILE:
                    facts.append(check_place(read_facts(path), branch))
            except SET_APART as error:
                found.append(CheckResult("archive", "wrong", f"{path} {error.problem}{costs}", error.remedy))
        return facts, found

    try:
        return disk.undisturbed(look, f"the files of {branch.name}")
    except SET_APART as error:  # a folder
        return [], [CheckResult("archive", "wrong", f"{error.file} {error.problem}{costs}", error.remedy)]


def _twice(pair: str, facts: Sequence[FileFacts]) -> list[CheckResult]:
    """Find ids stored in two files, by their footers."""
    spans = [run.span for file in facts for run in file.footer.runs]
    again = sum(map(len, spans)) - Spans(spans).count()
    if not again:
        return []
    detail = f"{again:,} ids of {pair} lie in two files, which only happens by hand"
    (first, *_) = duplicate_files.same_ids((run, file.path) for file in facts for run in file.footer.runs)
    return [CheckResult("archive", "wrong", detail, f"{first.file} {first.problem}: {first.remedy}")]


def _of_table(layout: Layout, dataset: Dataset, facts: Iterable[FileFacts]) -> list[CheckResult]:
    """Find files of a table that repeat others, and misspelled folders."""
    try:
        found = integrity.misspelled_folders(layout, dataset)
    except SET_APART as error:
        found = [integrity.Finding.of(error)]
    if not dataset.has_ids:
        with contextlib.suppress(FileNotFoundError):  # compacted in the meantime
            found += duplicate_files.same_segments(dataset, facts)
    return [CheckResult("archive", "wrong", f"{one.file} {one.problem}", one.remedy) for one in found]


def journal(layout: Layout) -> list[CheckResult]:
    """Check every line of each journal, and look for corrupt lines set aside earlier."""
    area, found, lines, size = "journal", list[CheckResult](), 0, 0
    for name in journals():
        folder, raw = layout.journal_dir(name), layout.raw_dir(name)
        problems, whole, taken = disk.undisturbed(
            functools.partial(_segments, layout, name), f"the segments in {folder}"
        )
        found, lines, size = found + problems, lines + whole, size + taken
        aside = [file for file in disk.names_in(raw) if file.endswith(CORRUPT_SUFFIX)]
        if aside:
            detail = (
                f"{_counted(len(aside), 'segment')} had corrupt lines, which lie in {aside[0]} and its like in {raw}"
            )
            found.append(CheckResult(area, "note", detail, "check the disk; their ids were holes, and fetched again"))
    if not any(finding.level == "wrong" for finding in found):
        found.append(CheckResult(area, "ok", f"{_counted(lines, 'line')}, {size / 1e6:,.1f} MB, all of them whole"))
    return found


def _segments(layout: Layout, name: str) -> tuple[list[CheckResult], int, int]:
    """Return findings, lines and bytes."""
    found: list[CheckResult] = []
    paths = segment.segments(layout.journal_dir(name))
    lines = size = 0
    # The lock file may have been removed; the folder is locked too.
    running = any(holder(path) is not None for path in (layout.journal_lock(name), layout.data))
    for path in paths:
        entries = Counter(isinstance(entry, CorruptLine) for entry in segment.entries(path))
        corrupt = entries[True]
        size += path.stat().st_size
        lines += entries[False]
        if _torn(path):
            corrupt -= 1
            if not running:
                detail = f"{path} ends in the middle of a line, as after a crash"
                found.append(
                    CheckResult("journal", "note", detail, "nothing: the next start cuts it off; it never counted")
                )
        if corrupt:
            detail = f"{path} has {corrupt:,} lines that fail their checksum"
            remedy = "check the disk; the next drain sets them aside, and their ids are fetched again"
            found.append(CheckResult("journal", "wrong", detail, remedy))
    return found, lines, size


def _torn(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) not in {b"", b"\n"}


def holder(lock: Path) -> int | None:
    """Return the process that holds a lock, as reported by Linux, without touching the lock; None if unknown."""
    with contextlib.suppress(OSError):
        inode = lock.stat().st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if "FLOCK" in fields and "->" not in fields and fields[5].split(":")[-1] == str(inode):
                return int(fields[4])
    return None


def space(data: Path) -> list[CheckResult]:
    """Check free space, and the abilities of the file system."""
    area = "disk"
    at = _existing(data)
    found: list[CheckResult] = []
    try:
        room = disk.room(at)
        nodes = os.statvfs(at)
    except (DiskError, OSError) as error:
        return [CheckResult(area, "wrong", str(error), "check the disk and its mount")]
    limits = disk_limits(room.total)
    detail = f"{room.free / 1e9:,.2f} of {room.total / 1e9:,.2f} GB are free at {at}"
    if room.free < limits.stop:
        found.append(CheckResult(area, "wrong", f"{detail}: too little to record", "make room, or move the archive"))
    elif room.free < limits.low:
        remedy = "make room: history waits, and the oldest raw segments go"
        found.append(CheckResult(area, "wrong", f"{detail}: that is low", remedy))
    else:
        found.append(CheckResult(area, "ok", detail))
    if nodes.f_files and nodes.f_favail * 100 < nodes.f_files:
        detail = f"{nodes.f_favail:,} of {nodes.f_files:,} inodes are left at {at}"
        found.append(
            CheckResult(area, "wrong", detail, "remove small files there; an archive of 1,000 pairs has some 10,000")
        )
    if nodes.f_flag & os.ST_RDONLY:
        found.append(CheckResult(area, "wrong", f"{at} is mounted read-only", "mount it for writing; see why it is so"))
    return [*found, *_abilities(at)]


def _abilities(at: Path) -> list[CheckResult]:
    area = "disk"
    found: list[CheckResult] = []
    if not _locks(at):
        detail = f"the file system at {at} knows no locks"
        found.append(
            CheckResult(area, "wrong", detail, "keep the archive on a local disk; each writer must hold locks")
        )
    kind = _file_system(at)
    if kind in _REMOTE:
        detail = f"{at} is on {kind}, a file system of another machine"
        found.append(
            CheckResult(area, "note", detail, "a local disk is better: it must keep what it says it has synced")
        )
    elif kind is not None and kind not in _SWAPPING:
        detail = f"{at} is on {kind}, which may not swap two folders in one step"
        remedy = "nothing; a query that meets a merge may find a folder missing, and must be asked again"
        found.append(CheckResult(area, "note", detail, remedy))
    else:
        found.append(CheckResult(area, "ok", f"{kind or 'the file system'} has what is needed"))
    return found


def _locks(at: Path) -> bool:
    """Try a lock on the folder itself, which no other process locks."""
    try:
        handle = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(handle)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def _file_system(at: Path) -> str | None:
    """Return the type of file system, as reported by Linux; None elsewhere."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    there = at.resolve()
    kinds = {Path(_unescaped(point)): kind for _, point, kind, *_ in map(str.split, lines)}
    mounted = [point for point in kinds if there.is_relative_to(point)]
    return kinds[max(mounted, key=lambda point: len(point.parts))] if mounted else None


def _unescaped(point: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)


def permissions(layout: Layout) -> list[CheckResult]:
    """Check whether this user can write, and whether others can."""
    area = "permissions"
    at = _existing(layout.data)
    kept = [place(name) for name in journals() for place in (layout.journal_dir, layout.raw_dir)]
    folders = [*kept, layout.staging, layout.locks, *map(layout.folder, DATASETS)]
    # A read-only mount is reported once, with the disk.
    writing = 0 if os.statvfs(at).f_flag & os.ST_RDONLY else os.W_OK
    found: list[CheckResult] = []
    for folder in [at, *(folder for folder in folders if folder.is_dir())]:
        mode = folder.stat().st_mode
        if not os.access(folder, os.R_OK | writing | os.X_OK):
            detail = f"this user cannot read and write {folder} (owner {folder.stat().st_uid}, {stat.filemode(mode)})"
            found.append(CheckResult(area, "wrong", detail, "run as its owner, or change the owner"))
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            detail = f"everybody can write to {folder} ({stat.filemode(mode)})"
            found.append(CheckResult(area, "wrong", detail, f"chmod o-w {folder}"))
    if not found:
        found.append(CheckResult(area, "ok", f"this user can write to {at}, and others cannot"))
    return found


def _existing(path: Path) -> Path:
    """Return the path, or the folder in which it would be created."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def versions() -> list[CheckResult]:
    """Compare Python and the installed libraries with the lower bounds of this release."""
    area = "versions"
    try:
        about = metadata.metadata(DISTRIBUTION)
        wanted = [("Python", about["Requires-Python"] or "", sys.version.split()[0])]
        needed = [line for line in metadata.requires(DISTRIBUTION) or [] if ";" not in line]  # no extras
    except metadata.PackageNotFoundError:
        return [
            CheckResult(area, "note", "it runs from its source, so that no bounds are known", "install it with pip")
        ]
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in needed]
    wanted += [(name, line, _installed(name)) for name, line in zip(names, needed, strict=True)]
    found = []
    for name, bounds, installed in wanted:
        lowest = re.search(r">=\s*([0-9.]+)", bounds)
        if lowest and _numbers(installed) < _numbers(lowest[1]):
            detail = f"{name} is {installed or 'not installed'}; {lowest[1]} or later is needed"
            found.append(
                CheckResult(area, "wrong", detail, f"install {DISTRIBUTION} anew, into an environment of its own")
            )
    if not found:
        detail = (
            f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}, Python {wanted[0][2]} and {len(wanted) - 1} libraries"
        )
        found.append(CheckResult(area, "ok", detail))
    return found


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.split(r"[^0-9.]", version, maxsplit=1)[0].split(".") if part]


async def exchange(config: Config, clock: Clock) -> list[CheckResult]:
    """Request the exchange's status, connect to its stream, and compare the clocks."""
    area = "reachability"
    rest_url, ws_url = config.exchange.rest_url, config.exchange.ws_url
    remedy = "check the network, DNS, proxies and a firewall between here and there; `--offline` leaves this out"
    found: list[CheckResult] = []
    async with client_session(proxy_for(rest_url, config.exchange.proxy)) as client:
        try:
            sent_s = clock.wall_ns() / 1e9
            async with asyncio.timeout(ANSWER_S):
                answer = await Http(client, rest_url, pace=Pace(1.0), clock=clock).get(rest_api.system_status())
            status = wire.system_status(answer.result).status
            found.append(
                CheckResult(
                    area, "ok" if status == "online" else "note", f"{without_credentials(rest_url)} says it is {status}"
                )
            )
            found += _clock(sent_s, answer.recv_ns / 1e9, answer.date_s)
        except (ExchangeError, TimeoutError, *wire.UNREADABLE) as error:
            found.append(CheckResult(area, "wrong", _reason(rest_url, error), remedy))
        try:
            async with asyncio.timeout(ANSWER_S), dial(client, ws_url) as socket:
                await socket.receive()  # it sends its status first
            found.append(CheckResult(area, "ok", f"{without_credentials(ws_url)} answers"))
        except (ExchangeError, TimeoutError) as error:
            found.append(CheckResult(area, "wrong", _reason(ws_url, error), remedy))
    return found


def _reason(url: str, error: Exception) -> str:
    if isinstance(error, ExchangeError):
        return str(error)
    return f"{without_credentials(url)} did not answer within {ANSWER_S:.0f} s"


def _clock(sent_s: float, recv_s: float, date_s: int | None) -> Iterator[CheckResult]:
    if date_s is None:
        yield CheckResult("clock", "note", "the exchange did not say what time it is", "look at the clock yourself")
        return
    offset = ClockOffset()
    offset.take(sent_s=sent_s, recv_s=recv_s, date_s=date_s)
    ahead_s = offset.offset_s or 0.0
    detail = f"this host's clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} the exchange's"
    if abs(ahead_s) > OFFSET_S:
        yield CheckResult("clock", "wrong", detail, "set the clock, by NTP: receive times are wrong by so much")
    else:
        yield CheckResult("clock", "ok", detail)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
