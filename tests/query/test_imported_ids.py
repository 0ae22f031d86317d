"""Ids from history files close gaps, and open none that nobody asked for: counted in Python and in SQL."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable

from msgspec import structs

import recorder
from recorder.core.evidence import Anchored, Joined, Knowledge, Promised, detail, kind
from recorder.core.model import Event
from recorder.ops import missing_ids
from tests.archives import START_US, Ask, Written, trade

CASES: list[tuple[set[int], set[int], int | None, int | None]] = [
    ({20, 21, 25}, {1, 2, 5}, 19, None),
    (set(), {3, 9}, None, 2),
    (set(), {3, 9}, 5, None),
    ({10}, {3, 20}, None, 19),
    ({5, 7, 9}, {6}, None, None),
    ({5, 7}, {1, 2, 3, 4, 6}, 4, 0),
]
"""Ids that the exchange sent, ids from history files, the anchor of the promise, and the id that is joined after."""


def cases(number: int) -> list[tuple[set[int], set[int], int | None, int | None]]:
    draw = random.Random(19)
    ids = range(1, 25)
    sets = (
        (set(draw.sample(ids, draw.randint(0, 7))), set(draw.sample(ids, draw.randint(1, 7)))) for _ in range(number)
    )
    held = ((sent, new - sent or {30}) for sent, new in sets)
    anchors = [None, *range(25)]
    return [*CASES, *((sent, new, draw.choice(anchors), draw.choice([None, min(new) - 1])) for sent, new in held)]


def expected(sent: set[int], imported: set[int], *anchors: int | None) -> set[int]:
    """Return what is missing: as without the imported ids, except above an anchor, where all that is stored counts.

    That of a promise is where ids begin to be missing; above the one of a joint only what is between stored ids is.
    """
    missing = set(range(min(sent), max(sent))) if sent else set()
    anchor, joined = anchors
    if anchor is not None:
        missing |= set(range(anchor + 1, max(sent | imported)))
    if joined is not None:
        missing |= set(range(max(joined + 1, min(sent | imported)), max(sent | imported)))
    return missing - sent - imported


def test_an_import_opens_no_gap_below_the_promise(archive: Written, ask: Ask) -> None:
    missing: dict[str, set[int]] = {}
    notes = []
    for number, (sent, imported, anchor, joined) in enumerate(cases(50)):
        pair = f"P{number}/USD"
        missing[pair] = expected(sent, imported, anchor, joined)
        if sent:
            archive.append([trade(trade_id, pair=pair) for trade_id in sorted(sent)])
        archive.append([structs.replace(trade(trade_id, pair=pair), source="bulk") for trade_id in sorted(imported)])
        if anchor is not None:
            promise: list[Knowledge] = [Promised(pair, START_US + anchor), Anchored(pair, START_US + anchor, anchor)]
            notes += [Event(START_US, kind(note), pair, json.dumps(detail(note))) for note in promise]
        if joined is not None:
            claim = Joined(pair, joined, START_US)
            notes.append(Event(START_US, kind(claim), pair, json.dumps(detail(claim))))
    archive.noted(*notes)

    def ids(rows: Iterable[tuple[object, ...]]) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {pair: set() for pair in missing}
        for pair, first, last in rows:
            found[str(pair)].update(range(int(str(first)), int(str(last)) + 1))
        return found

    told = missing_ids.read(archive.data)
    assert ids((pair, gap.span.first, gap.span.last) for pair, gaps in told.items() for gap in gaps) == missing
    asked = "SELECT pair, first_id, last_id FROM gaps"
    assert ids(ask(asked)) == missing
    rows = recorder.connect(archive.data).sql(asked, to="arrow").to_pylist()
    assert ids(tuple(row.values()) for row in rows) == missing
    assert ask("SELECT count(*) FROM footer_imported(footer_files())") == [
        (sum(1 for _, new, *_ in cases(50) for trade_id in new if trade_id - 1 not in new),)
    ]
