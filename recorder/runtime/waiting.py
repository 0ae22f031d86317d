"""Waiting for the first of several coroutines, or for one to end despite cancellation."""

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
    """Return the result of ``thing``. If the caller is cancelled meanwhile, wait for the end first, then raise that.

    An error raised by ``thing`` takes precedence over the cancellation: it may be the only sign of lost data.
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
