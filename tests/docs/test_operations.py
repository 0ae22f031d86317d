"""docs/operations.md, done: each command that stands in it is run here, or by hand on a real host, and named below."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from recorder import app as composition
from recorder.archive import locks, stored_evidence
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.segment_tables import Segments
from recorder.cli import VERBS, app, import_history
from recorder.clock import SystemClock
from recorder.errors import RecorderError
from recorder.history.listed_names import ListedNames
from recorder.journal import segment
from recorder.ops import archive_status, process_setup
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.archives import candle, trade, trades, writing
from tests.end_to_end.harness import PATIENCE_S, REPOSITORY, Process, archived, caught_up, config_for, recording, until
from tests.ingest.drained_archive import NEW_YEAR_S, SEGMENT, drain, merge, note, prepared, state
from tests.powercut import Unsynced

DOCUMENT: Final = (REPOSITORY / "docs" / "operations.md").read_text()
FENCED: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE: Final = re.compile(r"`recorder (\w+)((?: [^`]*)?)`")
INSTALL, HAND, BACK_UP, RESTORE, MOVE, UPGRADE, UNITE, SEVERAL, TRY, IMPORT = (
    "Install it as a service",
    "Start and stop it by hand",
    "Back it up while it records",
    "Restore it",
    "Move it to another disk",
    "Upgrade it",
    "Unite two archives",
    "Several recorders",
    "Try it without Kraken",
    "Import the past",
)
HOST: Final = re.compile(r"(?<!\S)(\"?)/(opt|etc|var|backup|mnt)(?=/)|(?<=PATH=)/(opt)")
"""Where a command leaves its folder; here that is below a folder of the test."""
BY_HAND: Final = (
    # Debian 12 with systemd 252 as the first process of a container (unshare, pivot_root), and a sandbox for Kraken.
    "useradd --system",
    "python3 -m venv /opt/kraken-recorder-",
    "/opt/kraken-recorder-0.1.0/bin/pip install --constraint constraints.txt .",
    "/opt/kraken-recorder-0.2.0/bin/pip install --constraint constraints.txt .",
    "systemctl ",
    "journalctl -u kraken-recorder",
    "runuser -u kraken-recorder -- env HOME=",
    "chown -R kraken-recorder: ",
    "umount /mnt/new",
    'mount "$DISK" /var/lib/kraken-recorder',
    # The same, with buildah and podman 4.3; the base image was Debian's Python 3.11.
    "podman ",
)
"""What only root on a real host can run begins so; what ran it stands above it."""


def section(title: str) -> str:
    return DOCUMENT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def commands(text: str) -> list[str]:
    return [line for language, block in FENCED.findall(text) if not language for line in block.splitlines() if line]


def by_hand(command: str) -> bool:
    return command.startswith(BY_HAND)


class Host:
    """A machine: its folders lie below ``root``, its archive where the service has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = self.there("/var/lib/kraken-recorder")
        self.data = self.home / "data"
        self.backup = self.there("/backup/kraken-recorder")
        self.disk = self.there("/mnt/new")
        for path in ("/backup", "/etc/systemd/system", "/mnt/new", "/opt", "/var/lib/kraken-recorder", "/var/tmp"):
            self.there(path).mkdir(parents=True)

    def there(self, path: str) -> Path:
        return self.root / path.removeprefix("/")

    def run(self, *lines: str, at: Path | None = None, **environ: str) -> list[str]:
        """Run commands as they stand in the document, but those that are run by hand; return what they print."""
        said = []
        for command in [one for line in lines for one in line.split(" && ")]:
            if by_hand(command):
                continue
            here = HOST.sub(lambda found: f"{found[1] or ''}{self.root}/{found[2] or found[3]}", command)
            here = here.removeprefix("runuser -u kraken-recorder -- ")
            words = shlex.split(here)
            where = at or self.home
            if Path(words[0]).name == "recorder":
                said.append(self._verb(words[1:], where))
            elif words[0] == "rsync" and shutil.which("rsync") is None:
                self._mirror(*(where / word for word in words[-2:]), anew="--delete" in words)
            else:
                done = subprocess.run(
                    ["bash", "-c", here], cwd=where, env={**os.environ, **environ}, capture_output=True, check=False
                )
                if done.returncode:
                    raise subprocess.CalledProcessError(done.returncode, here, stderr=done.stderr)
        return said

    @staticmethod
    def _verb(words: list[str], where: Path) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(where)
            patch.setattr(process_setup, "prepare", lambda: None)
            done = CliRunner().invoke(app, words)
        if isinstance(done.exception, RecorderError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    @staticmethod
    def _mirror(source: Path, target: Path, *, anew: bool) -> None:
        """Do what rsync does, where there is none; ``anew`` is its ``--delete``."""
        if anew:
            shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


def test_each_command_of_the_document_is_run_here_or_by_hand() -> None:
    of_sections = {title: commands(section(title)) for title in re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE)}
    run_here = {
        title
        for title, lines in of_sections.items()
        if not all(by_hand(command) for line in lines for command in line.split(" && "))
    }
    assert run_here == {INSTALL, HAND, BACK_UP, RESTORE, MOVE, UPGRADE, UNITE, SEVERAL, TRY, IMPORT}
    everything = [command for lines in of_sections.values() for line in lines for command in line.split(" && ")]
    assert {begins for begins in BY_HAND if not any(command.startswith(begins) for command in everything)} == set()


def test_verbs_and_options_that_the_text_names_exist() -> None:
    verbs = get_command(app)
    for verb, rest in INLINE.findall(DOCUMENT.replace("\n", " ")):
        assert verb in VERBS
        known = {option for one in verbs.get_command(None, verb).params for option in one.opts}  # type: ignore[attr-defined]
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"recorder {verb}{rest}"


def test_every_warning_and_error_is_explained_and_the_log_says_all_that_is_explained() -> None:
    sources = [path.read_text() for path in (REPOSITORY / "recorder").rglob("*.py")]
    table = section("What the log says")
    for said in {said for source in sources for said in complaints(ast.parse(source))}:
        assert f"`{re.split('[;:]', said)[0]}" in DOCUMENT, said
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    everything = "\n".join(sources)
    for said in re.findall("`([^`]+)`", " ".join(first_cells)):
        assert all(part.strip() in everything for part in said.split("…")), said


EXERCISED: Final = {
    "is not a complete Parquet file": "end_to_end/test_quarantine.py::test_a_bad_file_costs_its_pair_alone_at_a",
    "is none of ours": "archive/test_coverage.py::test_a_file_that_cannot_be_what_its_place_says_is_never_counted",
    "is damaged: the SHA-256": "query/test_file_digests.py::test_with_check_no_answer_rests_on_a_changed_byte",
    "holds id … as … does": "query/test_refused_files.py::test_whoever_asks_for_rows_that_lie_there_twice_is_told_of",
    "is damaged such that": "archive/test_check_readable.py::test_an_older_file_that_would_end_the_process_is_named",
    "says it holds": "query/test_refused_files.py::test_a_file_moved_to_another_pair_is_no_answer_of_that_one",
    "is a link to …, which is not there` | what it": "end_to_end/test_permission_denied.py::test_a_link_that_leads",
    "has schema version": "archive/test_schema_versions.py::test_a_newer_file_of_one_pair_is_named_by_who_looks_at_all",
    "cannot be read: Permission": "end_to_end/test_permission_denied.py::test_a_pair_that_cannot_be_listed_is_named",
    "the disk is at fault`, exit": "ingest/test_quarantined_pairs.py::test_the_disk_is_given_time_and_then_the_run",
    "events not read": "archive/test_schema_versions.py::test_a_newer_file_of_events_is_named_and_stops_nobody_who",
    "listing not archived": "collectors/test_first_listing.py::test_damaged_listings_in_the_archive_stop_no_start",
    "candles archived without": "ingest/test_drain_tables.py::test_damaged_candles_keep_neither_trades_nor_candles",
    "table cannot be used": "ingest/test_drain_tables.py::test_an_unusable_table_folder_keeps_its_segment_but_trades",
    "… cannot be listed: Permission": "end_to_end/test_permission_denied.py::test_every_way_to_ask_names_the_folder",
    "… is a link to …, which is not there` | the link": "end_to_end/test_permission_denied.py::test_an_archive",
    "exit 3 although": "archive/test_locks.py::test_one_recorder_has_the_archive_even_if_its_lock_was_removed",
}
"""How the rows of the tables of damage begin, and which test does what each says, by the beginning of its name."""


def test_each_row_of_the_tables_of_damage_is_exercised() -> None:
    text = section("When a file is damaged") + section("When a folder cannot be read")
    rows = [line for line in text.splitlines() if line.startswith("|") and not line.startswith(("| seen", "|---"))]
    assert len(rows) == len(EXERCISED)
    for row, (begins, test) in zip(rows, EXERCISED.items(), strict=True):
        assert row.removeprefix("| ").removeprefix("`").startswith(begins), row
        file, name = test.split("::")
        assert f"def {name}" in (REPOSITORY / "tests" / file).read_text(), test


def complaints(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="log"), attr="warning" | "error"),
                args=[ast.Constant(value=str(said)), *_],
            ):
                yield said


def test_it_is_installed_and_upgraded_and_taken_back(host: Host) -> None:
    (said,) = host.run(*commands(section(INSTALL))[:7], at=REPOSITORY)
    assert "requests_per_second: 1.0" in said
    link = host.there("/opt/kraken-recorder")
    assert link.readlink() == Path("kraken-recorder-0.1.0")
    unit = host.there("/etc/systemd/system/kraken-recorder.service")
    (started,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    named = {word for word in started.split() if word.startswith("/")}
    assert named == {
        "/opt/kraken-recorder/bin/recorder",
        "/etc/kraken-recorder/config.yaml",
        "/var/lib/kraken-recorder/data",
    }
    host.run(*commands(section(INSTALL))[7:])
    assert host.home.joinpath("config.yaml").read_text() == (REPOSITORY / "config.yaml").read_text()
    *upgrade, back, restart = commands(section(UPGRADE))
    (said,) = host.run(*upgrade, at=REPOSITORY)
    assert "requests_per_second: 1.0" in said
    assert link.readlink() == Path("kraken-recorder-0.2.0")
    host.run(back, restart)
    assert link.readlink() == Path("kraken-recorder-0.1.0")


def copied() -> list[tuple[str, str]]:
    """Return the folders of the archive in the order in which the document has them copied, each with its command."""
    (line,) = (line for line in commands(section(BACK_UP)) if line.startswith("cp "))
    steps = []
    for command in line.split(" && "):
        copy, how, *folders, target = command.split()
        steps += [(folder, f"{copy} {how} {folder} {target}") for folder in folders]
    return steps


@pytest.mark.parametrize("between", range(8))
def test_a_copy_is_whole_whenever_the_recorder_drains_and_merges_while_it_is_made(
    tmp_path: Path, host: Host, between: int
) -> None:
    before = prepared(tmp_path, SEGMENT)
    shutil.copytree(before, host.data)
    drain(before, Unsynced())
    expected = state(before)
    host.run(commands(section(BACK_UP))[0])
    for step, (_, command) in enumerate(copied()):
        if step == between:
            drain_and_merge(host.data)
        host.run(command)
    if between == len(copied()):
        drain_and_merge(host.data)
    host.run(*commands(section(BACK_UP))[2:4])
    drain(host.backup, Unsynced(), journalled=[note(100, "connected")])
    found = state(host.backup)
    found["events"] = [row for row in found["events"] if row["time"].timestamp() < NEW_YEAR_S + 100]  # type: ignore[attr-defined]
    assert found == expected


def drain_and_merge(data: Path) -> None:
    drain(data, Unsynced())
    with locks.staging(Layout(data), Unsynced()) as staging:
        segments = Segments(Layout(data), Unsynced(), staging=staging)
        merge(segments, segment.number_of(segment.segments(data / "journal")[0]) - 1)


def test_all_that_an_archive_consists_of_is_copied(tmp_path: Path) -> None:
    create(Layout(tmp_path), Unsynced())
    kept = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} | {"journal*", "raw*"}
    assert {folder for folder, _ in copied()} == {f"data/{name}" for name in kept}


def anchored(data: Path) -> bool:
    """Tell whether it is archived of all pairs after which id they are promised."""
    told = stored_evidence.read(Layout(data))
    promises = [told.promise(pair) for pair in told.promised]
    return len(promises) > 1 and all(promise and promise.after_id is not None for promise in promises)


async def test_it_is_backed_up_while_it_records_and_restored_without_loss_or_double(host: Host, tmp_path: Path) -> None:
    clock = SystemClock()
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=500), clock=clock, truth=tmp_path / "truth")
    (clear, copy), after = commands(section(BACK_UP))[:2], commands(section(BACK_UP))[2:]

    def snapshot() -> bool:
        try:
            host.run(clear, copy)
        except subprocess.CalledProcessError as error:
            if b"No such file" not in error.stderr:
                raise
            return False  # as the document says: call it again
        return True

    async with sandbox.serve():
        config = config_for(sandbox, host.data, drain_every_s=0.2)
        async with recording(config, composition.Intervals(maintenance_s=0.05)):
            await until(lambda: bool(Layout(host.data).pairs()), what="it archives")
            await until(lambda: anchored(host.data), what="the beginning of each pair is known")
            async with asyncio.timeout(PATIENCE_S):
                for _ in range(5):
                    while not await asyncio.to_thread(snapshot):
                        pass
        host.run(*after)
        held = sum(pair.rows for pair in archive_status.read(host.backup))
        assert held > 0
        restore = commands(section(RESTORE))
        host.run(*restore[:5])
        assert sum(pair.rows for pair in archive_status.read(host.data)) == held
        async with recording(config):
            sandbox.freeze()
            await until(lambda: caught_up(host.data, sandbox.last_ids()), what="what came since is fetched")
        host.run(restore[5])
    found = archived(host.data)
    verdict = compare(found, read_truth(tmp_path / "truth"))
    assert verdict.duplicated == verdict.altered == 0, str(verdict)
    assert {pair.pair: pair.holes for pair in archive_status.read(host.data) if pair.holes} == {}


def test_one_damaged_file_comes_back_from_the_backup_with_its_receive_times(host: Host) -> None:
    live = [trade(number) for number in range(11, 21)]
    with writing(host.data) as archive:
        archive.append(trades(1, 10))
        archive.append(live)
        archive.published([candle(1)])
        archive.listed("BTC/USD", 1)
    host.run(*commands(section(BACK_UP))[:4])
    damaged = max(Layout(host.data).trade_files("BTC/USD"))
    damaged.write_bytes(b"junk")
    lines = commands(section(RESTORE))[6:]
    host.run(*lines, DAMAGED=str(damaged))
    assert host.there(f"/var/tmp/{damaged.name}").read_bytes() == b"junk"
    assert archived(host.data) == archived(host.backup)


def test_it_moves_to_another_disk(host: Host) -> None:
    with writing(host.data) as archive:
        archive.append(trades(1, 10))
        archive.append(trades(11, 20))
        first, stop, again, *_ = commands(section(MOVE))
        host.run(first)
        archive.compact()  # so that files of the first copy are gone
        archive.append(trades(21, 30))
    host.run(stop, again)
    assert archived(host.disk / "data") == archived(host.data)
    host.run(commands(section(MOVE))[4], at=host.root)
    assert list(host.home.iterdir()) == []  # where the disk is mounted now
    assert host.home.with_name("kraken-recorder.old").joinpath("data").is_dir()


def test_the_past_is_imported(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def listed(*_: object) -> ListedNames:
        return ListedNames({"XBTUSD": "BTC/USD"}, frozenset())

    monkeypatch.setattr(import_history, "_listed", listed)
    dry, real = commands(section(IMPORT))
    row = "90250.1,0.00012,1767225600.123456,b,l,,{}\n"
    with zipfile.ZipFile(host.home / shlex.split(dry)[2], "w") as archive:
        archive.writestr("XBTUSD.csv", "".join(row.format(number) for number in range(1, 11)))
    (said,) = host.run(dry)
    assert "BTC/USD" in said
    assert not host.data.exists()
    host.run(real)
    (held,) = archive_status.read(host.data)
    assert (held.pair, held.rows, held.holes) == ("BTC/USD", 10, ())


def test_two_archives_are_united(host: Host) -> None:
    for name, first, last in (("data", 1, 10), ("OTHER", 6, 20)):
        with writing(host.home / name) as archive:
            archive.append(trades(first, last))
    host.run(*commands(section(UNITE)))
    (held,) = archive_status.read(host.data)
    assert (held.rows, held.holes) == (20, ())


def test_several_recorders_are_merged_into_one_archive(host: Host) -> None:
    merges = commands(section(SEVERAL))
    for source, pair, first in zip(merges, ("ETH/EUR", "BTC/USD", "BTC/USD"), (1, 1, 6), strict=True):
        with writing(host.there(shlex.split(source)[2])) as archive:
            archive.append(trades(first, first + 9, pair=pair))
    said = [host.run(*merges) for _ in range(2)]
    assert [("merged before" in one) for one in said[1]] == [True, True, True], said
    found = archive_status.read(host.there("/var/lib/kraken-merged"))
    assert [(one.pair, one.rows, one.holes) for one in found] == [("BTC/USD", 15, ()), ("ETH/EUR", 10, ())]


async def test_it_is_tried_without_kraken_and_run_by_hand(tmp_path: Path) -> None:
    serve, record = commands(section(TRY))
    (by_hand,) = commands(section(HAND))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    words = shlex.split(serve.removesuffix(" &").replace("8080", port))
    sandbox = Process(*words[1:], cwd=tmp_path)
    environ, arguments = record.replace("8080", port).split(" recorder ")
    settings = dict(word.split("=", 1) for word in environ.split()) | {"RECORDER_OPS__PORT": "0"}
    shutil.copy(REPOSITORY / "config.yaml", tmp_path)
    (tmp_path / "config.yaml").chmod(0o600)
    recorders = [Process(*line.split(), cwd=tmp_path, **settings) for line in (arguments, by_hand.split(" ", 1)[1])]
    try:
        for recorder in recorders:
            await recorder.says("recording")
            recorder.signal(signal.SIGTERM)
            assert await recorder.ended() == 0, recorder.said
    finally:
        for running in (sandbox, *recorders):
            running.close()
    assert {path.name for path in tmp_path.iterdir() if (path / "trades").is_dir()} == {"try", "data"}
