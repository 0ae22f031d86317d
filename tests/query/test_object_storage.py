"""A copy of an archive in object storage answers as the archive itself; `make engines` does the same at full size."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import recorder
from recorder import object_store
from recorder.cli import app
from recorder.errors import CorruptFile, DiskError, NoSuchArchive, UsageError
from recorder.object_store import ObjectPath, located
from tests.archives import START, candle, trades, writing
from tests.object_server import ObjectServer, serving_objects

pytest.importorskip("s3fs", reason="the extra s3 is not installed")

SECRET = "a-secret-of-nobody"
ADDRESS = "s3://bucket/of/archive"
EVERYTHING: dict[str, Callable[[recorder.Archive], Any]] = {
    "pairs": lambda archive: archive.pairs(),
    "resolve": lambda archive: archive.resolve("btc-usd"),
    "trades": lambda archive: archive.trades("BTC/USD", on_gap="ignore", hashed=True, to="arrow"),
    "batches": lambda archive: [*archive.batches("BTC/USD", on_gap="ignore", rows=40, check=True, to="arrow")],
    "candles": lambda archive: archive.candles(["BTC/USD", "ETH/USD"], "1m", on_gap="ignore", to="arrow"),
    "latest": lambda archive: archive.latest(["ETH/USD", "BTC/USD"], to="arrow"),
    "ohlc": lambda archive: archive.ohlc("BTC/USD", "1m", to="arrow"),
    "coverage": lambda archive: archive.coverage(to="arrow"),
    "instruments": lambda archive: archive.instruments(to="arrow"),
    "globs": lambda archive: archive.sql("FROM unsound_files", to="arrow"),
    "scan": lambda archive: archive.scan("BTC/USD", on_gap="ignore").collect(),
    "dataset": lambda archive: archive.scan("BTC/USD", on_gap="ignore", to="dataset").count_rows(),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """Objects under ``of/archive``: two pairs, one with a hole, candles and listings."""
    folder = tmp_path_factory.mktemp("objects")
    with writing(folder / "of" / "archive") as archive:
        for first in (1, 51, 120):
            archive.append(trades(first, first + 49))
        archive.append(trades(1, 30, pair="ETH/USD"))
        archive.published([candle(minute) for minute in range(3)])
        archive.listed("BTC/USD", 1, START)
    with serving_objects(folder) as server:
        yield server


@pytest.fixture(autouse=True)
def _environment(served: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    settings = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": SECRET, "DEFAULT_REGION": "eu-west-1"}
    for name, value in {**settings, "ENDPOINT_URL": served.endpoint, "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    served.denied.clear()
    served.gone.clear()
    served.page = 1_000
    served.forget()
    object_store._BUCKETS.clear()


@pytest.fixture
def copy() -> Iterator[recorder.Archive]:
    with recorder.connect(ADDRESS) as archive:
        yield archive


@pytest.fixture(scope="module")
def local(served: ObjectServer) -> Iterator[recorder.Archive]:
    with recorder.connect(served.folder / "of" / "archive") as archive:
        yield archive


def test_every_method_answers_as_in_the_folder(
    served: ObjectServer, local: recorder.Archive, copy: recorder.Archive
) -> None:
    served.page = 3  # all listings have several
    for name, ask in EVERYTHING.items():
        found, expected = ask(copy), ask(local)
        assert found.equals(expected) if hasattr(found, "equals") else found == expected, name
    assert repr(copy).replace(ADDRESS, "") == repr(local).replace(str(served.folder / "of" / "archive"), "")


def test_a_look_lists_a_small_archive_once_and_reads_each_object_once(
    served: ObjectServer, copy: recorder.Archive
) -> None:
    for _ in range(2):
        copy.sql("SELECT sum(qty) FROM trades", to="arrow")
    assert served.listed == ["of/archive/"] * 3, "when it was connected, and with each question"
    assert len(served.read) == len(set(served.read)), "what was read of a small object is all of it"
    assert object_store.requests(ADDRESS)["GetObject"] == len(served.read)


def test_of_a_large_archive_only_what_a_question_needs_is_listed(served: ObjectServer, copy: recorder.Archive) -> None:
    served.page = 3
    served.forget()
    copy.sql("SELECT count(*) FROM pair_trades('ETH/USD')", to="arrow")
    assert not [prefix for prefix in served.listed if "BTC" in prefix or "raw" in prefix]
    assert not [key for key in served.read if "BTC" in key]


def test_an_object_that_was_merged_away_is_looked_for_again(served: ObjectServer, tmp_path: Path) -> None:
    twin = tmp_path / "of" / "archive"
    shutil.copytree(served.folder / "of" / "archive", twin)
    with serving_objects(tmp_path) as server, pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", server.endpoint)
        with recorder.connect(ADDRESS) as copy:
            first = next(key for key in server.objects() if "/trades/pair=ETH" in key)
            server.gone.add(first)  # a listing has it until it was asked for
            assert copy.sql("SELECT count(*) FROM trades", to="arrow").column(0).to_pylist() == [150]
            assert server.read.count(first) == 1


def test_a_damaged_object_fails_the_questions_that_need_it_by_name(
    served: ObjectServer, copy: recorder.Archive
) -> None:
    key = next(key for key in served.objects() if "/trades/pair=ETH" in key)
    path = served.folder / key
    content = path.read_bytes()
    path.write_bytes(content[:-9] + b"x" * 9)
    try:
        assert len(copy.trades("BTC/USD", on_gap="ignore")) == 150
        for text in ("SELECT count(*) FROM trades", "SELECT count(*) FROM trades WHERE pair = 'ETH/USD'"):
            with pytest.raises(CorruptFile, match=f"s3://bucket/{key} "):
                copy.sql(text)
    finally:
        path.write_bytes(content)


def test_an_object_that_is_refused_is_named_with_the_reason_and_no_secret(
    served: ObjectServer, copy: recorder.Archive
) -> None:
    key = next(key for key in served.objects() if "/trades/pair=ETH" in key)
    served.denied.add(key)
    with pytest.raises(DiskError, match="access is denied") as refused:
        copy.sql("SELECT count(*) FROM trades WHERE pair = 'ETH/USD'")
    assert f"s3://bucket/{key}" in str(refused.value)
    assert SECRET not in f"{refused.value!r} {refused.value.__cause__!r} {copy!r}"


def test_what_fails_is_said_in_one_sentence(served: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSuchArchive, match="no archive at s3://bucket/elsewhere: name the bucket, and the prefix"):
        recorder.connect("s3://bucket/elsewhere")
    with pytest.raises(UsageError, match="leave out live"):
        recorder.connect(ADDRESS, live=True)
    with recorder.connect(ADDRESS) as copy:
        with pytest.raises(UsageError, match="needs the folder of a recorder"):
            copy.follow("BTC/USD")
        with pytest.raises(UsageError, match=f"only objects below {ADDRESS} are"):
            copy.sql("FROM 's3://bucket/other.parquet'")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"AWS_{name}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(served.folder / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(served.folder / "none"))
    with pytest.raises(DiskError, match="no credentials were found: set AWS_ACCESS_KEY_ID"):
        recorder.connect(ADDRESS)


def test_credentials_come_from_a_profile_of_a_file_as_well(
    served: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"AWS_{name}")
    (tmp_path / "keys").write_text(f"[research]\naws_access_key_id = key\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_PROFILE", "research")
    with recorder.connect(ADDRESS) as copy:
        assert copy.pairs() == ["BTC/USD", "ETH/USD"]


@pytest.mark.parametrize("address", ["s3://", f"s3://key:{SECRET}@bucket/x", "s3://bucket/x?y", "s3://bucket/*"])
def test_an_address_that_is_none_is_not_repeated(address: str) -> None:
    with pytest.raises(UsageError, match="is s3://bucket/prefix, without credentials") as refused:
        recorder.connect(address)
    assert SECRET not in str(refused.value)


def test_the_command_line_reads_an_address() -> None:
    text = "SELECT pair, count(*) AS count FROM trades GROUP BY ALL ORDER BY ALL"
    told = CliRunner().invoke(app, ["sql", text, "--data", ADDRESS, "--format", "csv"], catch_exceptions=False)
    assert told.stdout == "pair,count\nBTC/USD,150\nETH/USD,30\n"
    views = CliRunner().invoke(app, ["views", "--data", ADDRESS], catch_exceptions=False).stdout
    assert f"'{ADDRESS}/trades/*/*/*.parquet'" in views
    assert SECRET not in views
    with pytest.raises(UsageError, match="--engine"):
        CliRunner().invoke(app, ["views", "--engine", "spark", "--data", ADDRESS], catch_exceptions=False)


@pytest.mark.parametrize(
    "verb",
    [
        *(
            "run",
            "status",
            "gaps",
            "verify",
            "doctor --offline",
            "backfill BTC/USD --from 2025-01-01",
            "disown BTC/USD 1",
        ),
        *("release BTC/USD 1 2", "merge .", "import pyproject.toml", "serve", "demo"),
    ],
)
def test_every_other_verb_refuses_an_address_and_makes_no_folder_of_that_name(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="an archive in object storage is only read"):
        CliRunner().invoke(app, [*verb.split(), "--data", ADDRESS], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_paths_of_objects_are_made_as_paths_of_files() -> None:
    place = located(Path(ADDRESS))
    leaf = place / "trades" / "pair=BTC%2FUSD"
    assert str(leaf) == f"{leaf}" == f"{ADDRESS}/trades/pair=BTC%2FUSD"
    assert (leaf.parent.parent, leaf.name, leaf.is_relative_to(place)) == (place, "pair=BTC%2FUSD", True)
    assert isinstance(leaf.parent, ObjectPath)
    assert located("data") == Path("data")
