"""The overview of an archive without a recorder of this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.archive import locks
from recorder.ops.daemon_client import DaemonReply
from recorder.page.archive_overview import LOOK_S, ArchiveOverview
from recorder.page.overview import History
from tests.archives import trades, writing
from tests.clocks import ManualClock


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux lists locks")
async def test_a_recorder_that_does_not_answer_is_known_by_its_lock(tmp_path: Path) -> None:
    clock = ManualClock()
    silence = "no daemon answers at 127.0.0.1:9184"
    reply: DaemonReply | str = silence
    with writing(tmp_path / "data") as written:
        written.journalled(trades(1, 3))
        source = ArchiveOverview(written.data, clock, lambda: reply)

        async def state() -> tuple[str, str]:
            clock.move(LOOK_S)
            await source.refresh()
            facts = source.facts()
            return facts.word, "; ".join(facts.reasons)

        assert await state() == ("stopped", silence)
        with locks.alone(written.layout.lock):
            word, reason = await state()
            assert (word, "another process records into it, and last wrote at" in reason) == ("recording", True)
            assert silence in reason
            reply = DaemonReply(recording=False, reasons=("no pair is subscribed",), version="1", since="today")
            assert await state() == ("waiting", "no pair is subscribed")
        assert source.row("BTC/USD", History()).last_us is not None
