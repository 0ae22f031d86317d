"""What a stream does with the data of one channel, whatever the channel."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol, TypeVar

from recorder.kraken.websocket_session import ChannelSession
from recorder.runtime.inbox import Inbound

Data = TypeVar("Data")


class Feed(Protocol[Data]):
    """One channel as all connections of a run share it: its sessions, and the journal lines of its data."""

    @property
    def channel(self) -> str:
        """The channel's name, which is in the source of each of its journal lines."""
        ...

    def session(self, pairs: Collection[str]) -> ChannelSession[Any, Data]:
        """Return the session of a new connection for ``pairs``."""
        ...

    def line(self, data: Data, connection: int) -> Inbound:
        """Return the journal line of data that came by this connection."""
        ...
