"""Changes between a listing and the previous ones, as pure functions, so that tests can tabulate every rule.

A pair missing from a listing changes nothing by itself: the caller decides when a pair is delisted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from recorder.archive.event_rows import event
from recorder.core.event_kinds import EventKind
from recorder.core.model import CURRENCY, Event, Instrument
from recorder.core.pair_registry import DELISTED, Listed, Rival, renamed, settled


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows to archive, events to record, and entries that others replaced."""

    rows: tuple[Instrument, ...]
    events: tuple[Event, ...]
    rivals: tuple[Rival, ...] = ()


def changes(known: Mapping[str, Instrument], listed: Listed, time_us: int) -> Changes:
    """Compare a complete listing, received at ``time_us``, with the archived row of each pair (``known``, by pair).

    A pair whose key is listed under another symbol was renamed: it is delisted under the old one. The very first
    listing produces no events.
    """
    was_listed = {pair: instrument for pair, instrument in known.items() if instrument.status != DELISTED}
    found, rivals = settled(listed, was_listed)
    now = {pair: as_archived(instrument) for pair, instrument in found.items()}
    heirs = renamed(now, was_listed)
    rows = [instrument for pair, instrument in now.items() if known.get(pair) != instrument]
    gone = [msgspec.structs.replace(was_listed[pair], status=DELISTED) for pair in heirs]
    events: list[Event] = []
    if known:
        former = {new: old for old, new in heirs.items()}
        events += [_change_event(known.get(row.pair), row, former.get(row.pair), time_us) for row in rows]
        events += [event(time_us, EventKind.DELISTED, instrument.pair) for instrument in gone]
    return Changes((*rows, *gone), tuple(events), tuple(rivals))


def as_archived(instrument: Instrument) -> Instrument:
    """Return an instrument as it is archived: without its asset class."""
    return msgspec.structs.replace(instrument, asset_class=CURRENCY)


def _change_event(was: Instrument | None, now: Instrument, old_pair: str | None, time_us: int) -> Event:
    if old_pair is not None:
        return event(time_us, EventKind.RENAMED, now.pair, **{"from": old_pair, "to": now.pair})
    if was is None or (was.status == DELISTED) != (now.status == DELISTED):
        if now.status == DELISTED:
            return event(time_us, EventKind.DELISTED, now.pair)
        return event(time_us, EventKind.LISTED, now.pair, status=now.status)
    before, after = (msgspec.structs.asdict(instrument) for instrument in (was, now))
    changed: dict[str, Any] = {name: [before[name], after[name]] for name in after if before[name] != after[name]}
    return event(time_us, EventKind.LISTING_CHANGED, now.pair, **changed)
