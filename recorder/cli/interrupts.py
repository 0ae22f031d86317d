"""Ctrl-C: it ends a query at once, and whoever pressed it learns what is kept and how to go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from recorder.cli.screen import echo

if TYPE_CHECKING:
    from recorder.query.connect import Archive


@contextlib.contextmanager
def interruptible(archive: Archive) -> Iterator[None]:
    """Let Ctrl-C end a query of ``archive``: Python alone would notice it only when DuckDB returns."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing)

    def watch() -> None:
        while number := os.read(reading, 1):
            if number[0] == signal.SIGINT:
                archive.interrupt()

    watching = threading.Thread(target=watch, name="interrupts", daemon=True)
    watching.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)
        watching.join()
        os.close(reading)


@contextlib.contextmanager
def on_interrupt(kept: Callable[[], str]) -> Iterator[None]:
    """Report on standard error after Ctrl-C what is kept, and how to go on; also in a task, which is cancelled then."""
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        echo(f"recorder: interrupted; {kept()}", err=True)
        raise
