from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from recorder.archive.datasets import INSTRUMENTS, Branch
from recorder.archive.instruments import InstrumentArchive
from recorder.collectors.first_listing import archived
from recorder.errors import Malformed
from tests.builders import BTC, instrument, shop
from tests.collectors.listings import Bench
from tests.segments import named


async def test_the_first_listing_is_trusted_unless_it_lacks_most_known_pairs() -> None:
    known = [instrument(f"A{number}/USD") for number in range(20)]
    assert len(Bench(["*"], known[:10], known=known).pairs) == 20, "what it lacks is not gone at once"
    with pytest.raises(Malformed, match="lacks 11 of 20"):
        Bench(["*"], known[:9], known=known)
    delisted = [msgspec.structs.replace(one, status="delisted") for one in known[:12]]
    assert len(Bench(["*"], known[12:17], known=[*delisted, *known[12:]]).pairs) == 8
    assert Bench(["*"], [BTC]).pairs == {"BTC/USD"}


def test_damaged_listings_in_the_archive_stop_no_start(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.tables.add(Branch(INSTRUMENTS), [(1, BTC)])
        opened.tables.write(named(1))
        instruments = InstrumentArchive(opened.tables)
        (path,) = [path for path in (tmp_path / "instruments").iterdir() if path.name != "schema.parquet"]
        assert archived(instruments) == [BTC]
        path.write_bytes(path.read_bytes()[:50])
    with shop(tmp_path) as opened:
        assert archived(instruments) == []
