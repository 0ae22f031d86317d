from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from recorder.core.model import Instrument
from recorder.errors import Malformed
from recorder.tasks.first import archived, believable
from tests.builders import BTC, answered, instrument, listing_body, shop


def result(*listing: Instrument) -> bytes:
    return answered(listing_body(listing)).result


def test_the_first_listing_is_believed_unless_it_lacks_most_of_what_the_archive_knows_as_listed() -> None:
    known = [instrument(f"A{number}/USD") for number in range(20)]
    assert len(believable(result(*known[:10]), known)) == 10
    with pytest.raises(Malformed, match="lacks 11 of 20"):
        believable(result(*known[:9]), known)
    delisted = [msgspec.structs.replace(one, status="delisted") for one in known[:12]]
    assert len(believable(result(*known[12:17]), [*delisted, *known[12:]])) == 5
    assert len(believable(result(BTC), [])) == 1


def test_damaged_listings_in_the_archive_stop_no_start(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.instruments.append(1, [BTC], segment=1)
        (path,) = [path for path in opened.layout.instruments.iterdir() if path.name != "schema.parquet"]
        assert archived(opened.instruments) == [BTC]
        path.write_bytes(path.read_bytes()[:50])
    with shop(tmp_path) as opened:
        assert archived(opened.instruments) == []
