from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from recorder.cli.export import export
from recorder.errors import CorruptFile
from recorder.query import file_digests
from recorder.query.connect import Archive, connect
from tests.archives import Written, name_as_before, trades, writing

PAIR, OTHER = "BTC/USD", "ETH/USD"
PRICES = "SELECT trade_id, price, qty FROM read_parquet($path) ORDER BY trade_id"


@pytest.fixture
def written(tmp_path: Path) -> Written:
    with writing(tmp_path / "data") as made:
        for pair in (PAIR, OTHER):
            made.append(trades(1, 40, pair=pair))
    return made


@pytest.fixture
def changed(written: Written) -> Path:
    """Return a file of PAIR in which one bit was changed such that DuckDB answers with other prices all the same."""
    (path,) = written.layout.trade_files(PAIR)
    whole, good = path.read_bytes(), duckdb.execute(PRICES, {"path": str(path)}).fetchall()
    for at in range(4, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = duckdb.execute(PRICES, {"path": str(path)}).fetchall()
        except (duckdb.Error, RuntimeError):
            continue
        if found != good and len(found) == len(good):
            return path
    raise AssertionError(path)


ASKS: dict[str, Callable[[Archive], object]] = {
    "sql": lambda archive: archive.sql("SELECT max(price) FROM trades"),
    "trades": lambda archive: archive.trades(PAIR),
    "candles": lambda archive: archive.candles(PAIR, "1h"),
    "batches": lambda archive: list(archive.batches(PAIR)),
}
HASHED: dict[str, Callable[[Archive], object]] = {
    "trades": lambda archive: archive.trades(PAIR, hashed=True),
    "candles": lambda archive: archive.candles(PAIR, "1h", hashed=True),
    "certificates": lambda archive: archive.certificates(hashed=True),
}


@pytest.mark.parametrize("ask", ASKS)
def test_with_check_no_answer_rests_on_a_changed_byte(written: Written, changed: Path, ask: str) -> None:
    with connect(written.data) as archive:
        ASKS[ask](archive)  # as DuckDB by itself sees nothing
    with connect(written.data, check=True) as archive:
        with pytest.raises(CorruptFile, match=f"{changed} is damaged: the SHA-256"):
            ASKS[ask](archive)
        with archive.cursor() as cursor, pytest.raises(CorruptFile, match="is damaged: the SHA-256"):
            ASKS[ask](cursor)
        assert len(archive.trades(OTHER)) == 40, "another pair is not touched by it"


@pytest.mark.parametrize("ask", HASHED)
def test_digests_of_rows_are_never_of_changed_bytes(written: Written, changed: Path, ask: str) -> None:
    with connect(written.data) as archive, pytest.raises(CorruptFile, match=f"{changed} is damaged: the SHA-256"):
        HASHED[ask](archive)


def test_what_is_exported_is_what_was_written(written: Written, changed: Path, tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match=f"{changed} is damaged: the SHA-256"):
        export([PAIR], to_file=tmp_path / "a.parquet", data=written.data)
    assert not (tmp_path / "a.parquet").exists()
    export([OTHER], to_file=tmp_path / "b.parquet", data=written.data)
    assert (tmp_path / "b.parquet").exists()


def test_each_file_is_read_once_as_long_as_it_stays_the_same(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = written.layout.trade_files(PAIR)
    with connect(written.data, check=True) as archive:
        archive.trades(PAIR)
        monkeypatch.setattr(file_digests, "check_digest", pytest.fail)
        archive.trades(PAIR)
        monkeypatch.undo()
        content = bytearray(path.read_bytes())
        content[len(content) // 8] ^= 1  # of a page, for a footer is read by whoever looks at the file
        path.write_bytes(content)
        with pytest.raises(CorruptFile, match="is damaged: the SHA-256"):
            archive.trades(PAIR)


def test_files_of_older_releases_are_read_as_they_were(written: Written) -> None:
    name_as_before(written.data)
    with connect(written.data, check=True) as archive:
        assert len(archive.trades(PAIR, hashed=True)) == 40
