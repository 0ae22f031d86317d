"""Rows of v2 frames as bytes, whatever the channel: frames with some of their rows, and the pairs that these are of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import msgspec

from recorder.core.model import PAIR_LIMIT
from recorder.kraken import wire


def framed(channel: str, kind: str | None, rows: Sequence[bytes]) -> bytes:
    """Return a frame of a channel with these rows; ``kind`` is its type, such as ``update``."""
    return b'{"channel":"%b","type":%b,"data":[%b]}' % (channel.encode(), msgspec.json.encode(kind), b",".join(rows))


def only(channel: str, frame: bytes, wanted: Callable[[str], bool]) -> bytes | None:
    """Return a frame with only the rows whose symbol is ``wanted``, byte for byte; None if there are none.

    A row whose symbol cannot be read stays.
    """
    content = wire.raw_frame(frame)
    named = ((row, symbol(row)) for row in content.data or ())
    kept = [bytes(row) for row, name in named if name is None or wanted(name)]
    return framed(channel, content.type, kept) if kept else None


def pairs(channel: str, frame: bytes) -> Sequence[str]:
    """Return the pair of each row of a frame that cannot be read, as far as it can be; none if that is uncertain."""
    try:
        content = wire.raw_frame(frame)
    except wire.UNREADABLE:
        found = _first_pair(channel).match(frame)  # a frame that ends too soon
        return [] if found is None else [found[1].decode()]
    names = [symbol(raw) for raw in content.data or ()]
    return [] if None in names else [name for name in names if name is not None]


def symbol(row: msgspec.Raw) -> str | None:
    """Return the symbol of a row; None if it has none that can be read."""
    try:
        return wire.named(row).symbol
    except wire.UNREADABLE:
        return None


@cache
def _first_pair(channel: str) -> re.Pattern[bytes]:
    return re.compile(
        rb'\{"channel":"%b","type":"(?:update|snapshot)","data":\[\{"symbol":"([ !#-\[\]-~]{1,%d})"'
        % (channel.encode(), PAIR_LIMIT)
    )
