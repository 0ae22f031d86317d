from __future__ import annotations

import asyncio

from recorder.core.trade_ids import runs_of
from recorder.runtime.inbox import Inbound, Inbox
from tests.builders import trades
from tests.clocks import settle


async def test_take_returns_all_that_was_put_in_order() -> None:
    inbox = Inbox()
    for number in range(3):
        await inbox.put(Inbound(b"%d\n" % number, runs_of(trades(number + 1, number + 1))))
    await inbox.wait()
    assert [inbound.line for inbound in inbox.take()] == [b"0\n", b"1\n", b"2\n"]
    assert inbox.take() == []
    assert inbox.size == 0


async def test_a_full_inbox_holds_back_whoever_puts_until_something_is_taken() -> None:
    inbox = Inbox(limit_bytes=10)
    await inbox.put(Inbound(b"x" * 10, []))
    blocked = asyncio.create_task(inbox.put(Inbound(b"y", [])))
    await settle()
    assert not blocked.done()
    assert len(inbox.take()) == 1
    await blocked
    assert [inbound.line for inbound in inbox.take()] == [b"y"]


async def test_wait_returns_only_when_there_is_something() -> None:
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.wait())
    await settle()
    assert not waiting.done()
    await inbox.put(Inbound(b"x", []))
    await waiting


async def test_it_is_crowded_from_an_eighth_of_its_limit_until_something_is_taken() -> None:
    inbox = Inbox(limit_bytes=80)
    for _ in range(2):
        crowded = asyncio.create_task(inbox.is_crowded())
        await inbox.put(Inbound(b"x" * 9, []))
        await settle()
        assert not crowded.done()
        await inbox.put(Inbound(b"y", []))
        await crowded
        inbox.take()
