from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from recorder import app
from recorder.archive.files import Layout, hold
from recorder.config import ArchiveConfig, Config, OpsConfig
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument, Span
from recorder.errors import ArchiveInUse, ConfigError
from recorder.journal import segment
from recorder.kraken.names import Listing
from tests.tasks.support import BTC, PAIR, T0_US, frame, shop, trades


def test_the_ledger_is_rebuilt_from_footers_and_closed_segments_alone(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        opened.journal.append(
            [
                segment.encode(1, "ws:trade:1", frame(8, 12), parsed=True),
                segment.encode(1, "ws:unreadable:1", b"\xff"),
                segment.encode(1, "ws:trade:1", frame(20, 21), parsed=True),
            ]
        )
    with shop(tmp_path) as opened:  # the next start: what was open is closed now
        ledger = Ledger()
        app.rebuild(ledger, opened.archive, opened.journal)
    account = ledger.of(PAIR)
    assert list(account.spans) == [Span(1, 12), Span(20, 21)]
    assert [(hole.span, hole.after_us, hole.before_us) for hole in ledger.holes(PAIR)] == [
        (Span(13, 19), T0_US + 12_000, T0_US + 20_000)
    ]


async def test_an_archive_that_is_held_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    config = Config(archive=ArchiveConfig(path=tmp_path), ops=OpsConfig(port=0))
    with hold(layout.lock), pytest.raises(ArchiveInUse, match="stop it first, or record elsewhere"):
        await app.record(config, app.Stop())
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_pairs_are_resolved_by_any_name_and_an_unknown_one_names_the_key() -> None:
    listing = Listing([BTC])
    assert list(app.resolved(("xbtusd",), listing)) == ["BTC/USD"]
    assert list(app.resolved(("XXBTZUSD", "BTC/USD"), listing)) == ["BTC/USD"]
    with pytest.raises(ConfigError, match=r"pairs: .*BTC/USX.*did you mean BTC/USD"):
        app.resolved(("BTC/USX",), listing)


def test_a_pair_finer_than_the_schema_is_refused_never_rounded() -> None:
    fields = {field: getattr(BTC, field) for field in BTC.__struct_fields__}
    fine = Instrument(**fields | {"pair_decimals": 13})
    with pytest.raises(ConfigError, match=r"13 price .* digits"):
        app.resolved(("BTC/USD",), Listing([fine]))


async def test_the_first_signal_asks_and_the_second_hurries() -> None:
    stop = app.Stop()
    stop.signal()
    assert stop.asked.is_set()
    assert not stop.hurried.is_set()
    stop.signal()
    await asyncio.wait_for(stop.hurried.wait(), 1)
