"""The picture of a book: what is drawn of its levels, and what proves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recorder.errors import UsageError
from recorder.query import plots
from recorder.query.connect import connect
from tests.archives import Written, small_book


def test_quantities_are_cumulated_from_the_middle_and_say_what_proves_them(archive: Written, tmp_path: Path) -> None:
    archive.booked(small_book())
    with connect(archive.data) as opened:
        chart = plots.depth(opened, "BTC/USD", "2025-11-10T12:00:01Z")
        drawn: dict[str, Any] = chart.figure().to_dict()
        (values,) = drawn["datasets"].values()
        assert [(row["side"], row["price"], row["sum"], row["state"]) for row in values] == [
            ("bids", 100.5, 2.0, "verified"),
            ("bids", 100.0, 3.0, "verified"),
            ("bids", 99.0, 4.0, "verified"),
            ("asks", 101.0, 1.0, "verified"),
            ("asks", 102.0, 2.0, "verified"),
        ]
        assert drawn["title"]["text"] == "Order book of BTC/USD at 2025-11-10 12:00:01.000000 UTC"
        assert "5 of 5 levels verified" in drawn["title"]["subtitle"][0]
        plots.save(chart, tmp_path / "book.svg")
        later = plots.depth(opened, "BTC/USD", "2025-11-10T12:00:09Z").figure().to_dict()
        assert "0 of 4 levels verified" in later["title"]["subtitle"][0]
        with pytest.raises(UsageError, match="nothing is known of the book of BTC/USD"):
            plots.depth(opened, "BTC/USD", "2025-11-01")
