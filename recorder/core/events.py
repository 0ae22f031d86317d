"""Every kind of event there is, for those that write, ask for and describe events alike; and how a note names one.

docs/format.md lists the same kinds with their details; a test holds the two equal. Archives of other releases may hold
other kinds, so what is read from one is a text.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

NOTE: Final = "note"
"""The source of journal lines that are the recorder's own, and the key under which such a line names its kind."""
HEADER: Final = "segment"
"""What the note says that each segment begins with; it tells of the file, not of anything that happened."""


class EventKind(StrEnum):
    """What happened, as the column ``kind`` of the events table says it."""

    CONNECTED = "connected"
    """A connection of the stream was opened."""
    DISCONNECTED = "disconnected"
    """A connection of the stream ended, or could not be opened."""
    SUBSCRIBED = "subscribed"
    """The exchange acknowledged the subscription of a pair."""
    REJECTED = "rejected"
    """The exchange refused a subscription."""
    STALLED = "stalled"
    """A connection was closed because it was of no use any more."""
    BEHIND = "behind"
    """A pair is subscribed and traded unheard, by the Ticker."""
    HOLE_OPENED = "hole_opened"
    """Ids between two held ones are missing."""
    HOLE_CLOSED = "hole_closed"
    """Ids that were missing are held, or known to be void."""
    VOID = "void"
    """The exchange itself does not have some ids."""
    CONFIRMED = "confirmed"
    """Nothing came after an id until a moment."""
    PARKED = "parked"
    """Ids came over the stream that lie so far from all others that they do not count yet."""
    RELEASED_IDS = "released_ids"
    """Ids that were parked count as held from now on."""
    PROMISED = "promised"
    """From a moment on every trade of a pair is to be held."""
    ANCHORED = "anchored"
    """After which id the promise of a pair begins is known."""
    MEMORY_DIFFERED = "memory_differed"
    """The recorder held for stored what is not on the disk any more."""
    THROTTLED = "throttled"
    """The exchange refused requests for a while."""
    MAINTENANCE = "maintenance"
    """The exchange announced its state."""
    MALFORMED = "malformed"
    """Something could not be understood or believed; it is kept as it came."""
    OHLC_REVISED = "ohlc_revised"
    """A committed candle changed."""
    OHLC_LOST = "ohlc_lost"
    """Candles slipped out of the exchange's window unseen."""
    DISK_LOW = "disk_low"
    """Little room is left on the disk."""
    CLOCK_STEPPED = "clock_stepped"
    """The host's clock was set, or is ahead because the machine slept."""
    LISTED = "listed"
    """A pair is listed, for the first time or again."""
    DELISTED = "delisted"
    """A pair is not listed any more."""
    RENAMED = "renamed"
    """A pair's key is listed under another symbol."""
    LISTING_CHANGED = "listing_changed"
    """Something that is listed of a pair changed."""
