"""Requests to end a run in order, by signals or by a caller."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stop:
    """Requests to end a run: ``requested`` drains first, ``hurried`` leaves the drain to the next start."""

    requested: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)
    served: bool = False
    """Whether the exchange acknowledged a subscription or answered a poll while it ran."""

    def serve(self) -> None:
        """Note that it did."""
        self.served = True

    def signal(self) -> None:
        """Handle one signal: the first asks to stop, the second hurries."""
        if self.requested.is_set():
            self.hurried.set()
        self.requested.set()

    def on_signals(self) -> None:
        """Handle SIGTERM and SIGINT of this process from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.signal)
