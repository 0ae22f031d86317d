"""Wait for the first of several things."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first_of(*things: Coroutine[Any, Any, object]) -> None:
    """Return when the first of ``things`` is done, and cancel the others."""
    waits = [asyncio.ensure_future(thing) for thing in things]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
