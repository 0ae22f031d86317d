"""Wait for the first of several things, or for the end of one, whatever comes between."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


async def first_of(*things: Coroutine[Any, Any, object]) -> None:
    """Return when the first of ``things`` is done, and cancel the others."""
    waits = [asyncio.ensure_future(thing) for thing in things]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def to_the_end(thing: Coroutine[Any, Any, _Result]) -> _Result:
    """Return what ``thing`` results in. Whoever is cancelled meanwhile waits for its end, however often, and then is.

    What ``thing`` raises goes before the cancellation: it may be all that tells that something was lost.
    """
    doing = asyncio.ensure_future(thing)
    cancelled: asyncio.CancelledError | None = None
    while not doing.done():
        try:
            await asyncio.wait([doing])
        except asyncio.CancelledError as error:
            cancelled = error
    result = doing.result()
    if cancelled is not None:
        raise cancelled
    return result
