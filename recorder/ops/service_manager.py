"""Notification of the service manager by systemd's protocol, one datagram per message (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
WATCHDOG: Final = "WATCHDOG=1"


class Notifier:
    """Sends to ``$NOTIFY_SOCKET``; does nothing if there is none.

    ``watchdog_s`` is how long the manager waits for a sign of life before it restarts us; None: it does not.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is in Linux' abstract namespace, which begins with a zero byte.
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self.watchdog_s = _watchdog_s(environ) if name else None

    def send(self, *messages: str) -> None:
        """Send messages in one datagram. A failure does not stop recording."""
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(messages).encode(), self._address)


def status(text: str) -> str:
    """Return the message that shows ``text`` in ``systemctl status``."""
    return "STATUS=" + " ".join(text.split())


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Return the watchdog timeout, if it is meant for this process (sd_watchdog_enabled(3))."""
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
    if not microseconds.isdecimal() or int(microseconds) == 0 or pid not in {None, str(os.getpid())}:
        return None
    return int(microseconds) / 1e6
