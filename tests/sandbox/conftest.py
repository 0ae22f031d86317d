from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from recorder.sandbox.pairs import pair_of
from recorder.sandbox.server import Sandbox
from recorder.sandbox.tape import Tape


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """A client at the REST address of the module's own ``sandbox``."""
    async with aiohttp.ClientSession(sandbox.rest_url) as session:
        yield session


def tape_of(*trades: tuple[int, int, int]) -> Tape:
    """Return a tape of (time, price, qty); one digit of price, five of quantity."""
    tape = Tape(pair_of("A/B", pair_decimals=1, lot_decimals=5))
    for time_ns, price, qty in trades:
        tape.append(time_ns, price=price, qty=qty, mark=0)
    return tape


@pytest.fixture
def payloads() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "kraken" / "payloads"
    if not folder.is_dir():
        pytest.skip("the recorded payloads (../shared/kraken/payloads beside the repository) are not here")
    return folder
