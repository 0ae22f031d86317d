"""quote_audit(): quotes beside the best prices of a recorded book."""

from __future__ import annotations

from typing import Any

import pytest

from recorder.errors import UsageError
from recorder.query.connect import connect
from tests.archives import START, START_US, Ask, Written, quote, small_book

SECOND_US = 1_000_000


def test_a_quote_is_equal_absent_or_unknown_by_what_the_book_had_around_it(archive: Written, ask: Ask) -> None:
    archive.booked(small_book())
    archive.quoted(
        [
            quote(1, 0, START_US - 60 * SECOND_US, "100", "101"),  # before the book was recorded
            quote(1, 1, START_US + 900_000, "100.5", "101", bid_qty="2", ask_qty="1"),  # a tenth before the book had it
            quote(1, 2, START_US + 1_000_000, "100", "101", bid_qty="1", ask_qty="1"),
            quote(1, 3, START_US + 1_100_000, "100.5", "101", bid_qty="3", ask_qty="1"),  # a quantity that it never had
            quote(1, 4, START_US + 1_950_000, "100", "101", bid_qty="1", ask_qty="1"),  # equal again, just in time
            quote(1, 5, START_US + 5 * SECOND_US, "100", "101", bid_qty="1", ask_qty="1"),  # the session had ended
        ]
    )
    query = "SELECT message, verdict FROM quote_audit('BTC/USD', '2025-11-10', '2025-11-11', '100 ms') ORDER BY message"
    expected = [(0, "unknown"), (1, "equal"), (2, "equal"), (3, "absent"), (4, "equal"), (5, "unknown")]
    assert ask(query) == expected
    with connect(archive.data) as opened:
        limits: dict[str, Any] = {"start": "2025-11-10", "stop": "2025-11-11"}
        found = opened.query("quote_audit", pair="BTC/USD", tolerance="1 ms", **limits)
        assert found["verdict"].tolist() == ["unknown", "absent", "equal", "absent", "absent", "unknown"]
        bars = opened.query("depth", pair="BTC/USD", every="1 second", start=START, stop="2025-11-10T12:00:02Z")
        assert bars["mid"].tolist() == [100.5, 100.75]
        for name in ("quote_audit", "depth"):
            with pytest.raises(UsageError, match="the archive holds no book of 'ETH/EUR'; it holds BTC/USD"):
                opened.query(name, pair="ETH/EUR", **limits)
