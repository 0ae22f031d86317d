"""What one listing changes about what was listed before: pure, so that every rule stands in a table of tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from recorder.archive.events import event
from recorder.core.events import EventKind
from recorder.core.model import Event, Instrument

DELISTED: Final = "delisted"
"""The status of a pair that is not listed any more; the exchange may also say it itself."""
FEW: Final = 10
"""So few pairs may vanish at once, whatever their share: a sandbox lists no more."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows to archive, events to tell, and why it was not believed that pairs are absent, if it was not."""

    rows: tuple[Instrument, ...]
    events: tuple[Event, ...]
    disbelief: str | None = None


def changes(known: Mapping[str, Instrument], listing: Sequence[Instrument], time_us: int) -> Changes:
    """Compare a whole listing, received at ``time_us``, with what was archived of each pair (``known``, by pair).

    A listing that lacks more than half of the pairs that were listed, FEW at least, is not believed about those: then
    their absence changes nothing. A pair whose key is listed under another symbol was renamed, and is not lacking. The
    first listing of all tells no events.
    """
    now = {instrument.pair: instrument for instrument in reversed(listing)}
    was_listed = {pair: instrument for pair, instrument in known.items() if instrument.status != DELISTED}
    heirs = {instrument.key: instrument.pair for instrument in now.values() if instrument.pair not in was_listed}
    absent = [instrument for pair, instrument in was_listed.items() if pair not in now]
    renamed = {heirs[instrument.key]: instrument.pair for instrument in absent if instrument.key in heirs}
    lacking = [instrument for instrument in absent if instrument.key not in heirs]
    disbelief = None
    if len(lacking) >= FEW and 2 * len(lacking) > len(was_listed):
        disbelief = f"the listing lacks {len(lacking)} of {len(was_listed)} pairs that were listed: not believed"
        absent = [instrument for instrument in absent if instrument.key in heirs]
    rows = [instrument for pair, instrument in now.items() if known.get(pair) != instrument][::-1]
    gone = [msgspec.structs.replace(instrument, status=DELISTED) for instrument in absent]
    events: list[Event] = []
    if known:
        events += [_told(known.get(row.pair), row, renamed.get(row.pair), time_us) for row in rows]
        events += [event(time_us, EventKind.DELISTED, instrument.pair) for instrument in gone]
    return Changes((*rows, *gone), tuple(events), disbelief)


def _told(was: Instrument | None, now: Instrument, old_pair: str | None, time_us: int) -> Event:
    if old_pair is not None:
        return event(time_us, EventKind.RENAMED, now.pair, **{"from": old_pair, "to": now.pair})
    if was is None or (was.status == DELISTED) != (now.status == DELISTED):
        if now.status == DELISTED:
            return event(time_us, EventKind.DELISTED, now.pair)
        return event(time_us, EventKind.LISTED, now.pair, status=now.status)
    before, after = (msgspec.structs.asdict(instrument) for instrument in (was, now))
    changed: dict[str, Any] = {name: [before[name], after[name]] for name in after if before[name] != after[name]}
    return event(time_us, EventKind.LISTING_CHANGED, now.pair, **changed)
