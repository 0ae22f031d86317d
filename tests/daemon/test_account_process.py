"""The supervisor of the process that records an account: begun again, except for a key that is refused."""

from __future__ import annotations

import asyncio
import sys

from recorder.app import account_of
from recorder.config import AccountConfig, Config
from recorder.daemon.account_process import AccountProcess
from recorder.daemon.child_process import FIRST_S
from tests.clocks import settle
from tests.end_to_end.harness import until
from tests.fakes import Fakes

CONFIG = Config(account=AccountConfig(record=True))


def program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-E", "-c", text)


async def test_an_end_is_an_event_and_a_refused_key_is_not_tried_again(fakes: Fakes) -> None:
    process = AccountProcess(CONFIG, fakes.context, command=program("import sys; sys.exit(2)"))
    await process.run()
    (event,) = fakes.noted("process_ended")
    assert (event["process"], event["exit_code"]) == ("account", 2)
    assert process.about == {"running": False, "refused": True, "ends": 1}
    assert b"account" not in fakes.metrics.text()


async def test_any_other_end_is_followed_by_another_begin(fakes: Fakes) -> None:
    process = AccountProcess(CONFIG, fakes.context, command=program("import sys; sys.exit(4)"))
    running = asyncio.create_task(process.run())
    await until(lambda: process.ends == 1, what="an end")
    assert process.about == {"running": False, "refused": False, "ends": 1}
    await settle()
    fakes.clock.move(FIRST_S)
    await until(lambda: process.ends == 2, what="another")
    process.stop()
    await running


def test_it_is_begun_only_where_the_configuration_says_so(fakes: Fakes) -> None:
    assert isinstance(account_of(CONFIG, fakes.context), AccountProcess)
    asyncio.run(AccountProcess(Config(), fakes.context).run())  # returns at once
