"""The picture of a spread: what is drawn, and where the line is broken."""

from __future__ import annotations

from typing import Any

import pytest

from recorder.errors import UsageError
from recorder.query import plots
from recorder.query.connect import connect
from tests.archives import MINUTE_US, START, START_US, Written, minute, quote

BTC = "BTC/USD"


def test_bars_are_drawn_with_their_ends_and_the_line_is_broken_where_nothing_is_known(archive: Written) -> None:
    rows = [quote(7, number, START_US + number * MINUTE_US, "100", str(101 + number)) for number in range(3)]
    rows.append(quote(8, 0, START_US + 5 * MINUTE_US, "100", "110"))
    archive.quoted(rows, ended={(BTC, 7): START_US + 3 * MINUTE_US, (BTC, 8): START_US + 6 * MINUTE_US})
    with connect(archive.data) as opened:
        drawn: dict[str, Any] = plots.spread(opened, BTC, "1m", START, minute(6)).figure().to_dict()
        (values,) = drawn["datasets"].values()
        assert [(row["mean"], row["stretch"], row["known"]) for row in values] == [
            (1.0, 0, 1.0),
            (2.0, 0, 1.0),
            (3.0, 0, 1.0),
            (10.0, 1, 1.0),
        ]
        assert drawn["title"]["text"] == "Spread of BTC/USD in 1m bars"
        assert "4 quotes in 4 bars" in drawn["title"]["subtitle"][0]
        longer = plots.spread(opened, BTC, "1m", START, minute(6_000), width=200).figure().to_dict()
        assert longer["title"]["text"] == "Spread of BTC/USD in 1h bars"
        with pytest.raises(UsageError, match="no quote of BTC/USD is stored in this range; the archive has them from"):
            plots.spread(opened, BTC, "1m", minute(60), minute(70))
        with pytest.raises(UsageError, match="the archive holds no quotes of 'ETH/EUR'"):
            plots.spread(opened, "ETH/EUR")
