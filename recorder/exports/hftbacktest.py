"""hftbacktest: events of the book and trades of one pair as one npz file per UTC day of local time.

A row has 64 bytes. Each event is one row where exchange and listener saw it in the same place of the order of that day,
else one row for each of the two, so that both orders ascend, as ``validate_event_order`` of hftbacktest requires.

No event may be received before it was made. If the host's clock was behind the exchange's, all receive times of the
export, of all pairs, are shifted by the same amount: the most by which one was too early. The sidecar reports it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recorder.exports.folder import HashedFile, NewFolder
from recorder.exports.local_times import UNKNOWN, LocalTimes
from recorder.exports.request import Kind, Request, Series, file_names
from recorder.exports.rows import Rows, Tally, micros

_EVENT: Final = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ],
    align=True,
)
_DEPTH, _TRADE, _CLEAR, _SNAPSHOT = 1, 2, 3, 4
_EXCHANGE, _LOCAL, _BUY, _SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
_DAY_NS: Final = 86_400_000_000_000
_US: Final = 1_000

Events = npt.NDArray[Any]
_Batches = Iterator[tuple[int, Events]]


class Hftbacktest:
    """Files for hftbacktest."""

    name = "hftbacktest"
    layout = "npz files of events, as hftbacktest 2.4.4 reads them"
    kinds = (Kind.TRADES, Kind.BOOK)
    is_exact = False
    needs_book = True

    def check(self, request: Request) -> None:
        """Raise UsageError for pairs whose files would have the same name."""
        file_names(request.pairs, "/", "")

    def write(self, rows: Rows, folder: NewFolder) -> Iterator[Series]:
        """Write a file for each pair and day."""
        names = file_names(rows.pairs, "/", "")
        shift_us = max(0, *(rows.ahead_us(pair) for pair in rows.pairs))
        for pair in rows.pairs:
            yield from _pair(rows, folder, pair, names[pair], shift_us)


def _pair(rows: Rows, folder: NewFolder, pair: str, name: str, shift_us: int) -> Iterator[Series]:
    kinds = [kind for kind in (Kind.TRADES, Kind.BOOK) if rows.has(pair, kind)]
    tallies = {kind: Tally() for kind in kinds}
    times = {kind: LocalTimes(shift_us) for kind in kinds}
    made: dict[Kind, Callable[[], Iterator[Events]]] = {
        Kind.TRADES: lambda: _trades(rows, pair, tallies[Kind.TRADES], times[Kind.TRADES]),
        Kind.BOOK: lambda: _book(rows, pair, tallies[Kind.BOOK], times[Kind.BOOK]),
    }
    for day, events in _together([_by_day(made[kind]()) for kind in kinds]):
        date = datetime.fromtimestamp(day * 86_400, UTC)
        with folder.file(f"{name}_{date:%Y%m%d}.npz") as file:
            _write_npz(file, ordered(events))
    for kind in kinds:
        facts = tallies[kind].facts() | times[kind].facts()
        facts |= {"receive_times_shifted_us": shift_us} if shift_us else {}
        yield Series(pair, kind, tallies[kind].rows, facts=facts)


def _trades(rows: Rows, pair: str, tally: Tally, times: LocalTimes) -> Iterator[Events]:
    for batch in rows.trades(pair, exact=False):
        tally.add(batch)
        yield _events(batch, times, np.where(_is(batch, "buy"), _TRADE | _BUY, _TRADE | _SELL))


def _book(rows: Rows, pair: str, tally: Tally, times: LocalTimes) -> Iterator[Events]:
    for batch in rows.book(pair, exact=False):
        tally.add(batch.rows)
        side = np.where(_is(batch.rows, "bid"), _BUY, _SELL)
        found = _events(batch.rows, times, np.where(batch.replaces, _SNAPSHOT, _DEPTH) | side)
        message = batch.rows["message"].to_numpy()
        fresh = batch.replaces.copy()
        fresh[1:] &= (message[1:] != message[:-1]) | ~batch.replaces[:-1]
        starts = np.flatnonzero(fresh)
        cleared = found[starts]
        cleared["ev"], cleared["px"], cleared["qty"] = _CLEAR, 0.0, 0.0
        yield np.insert(found, starts, cleared)


def _is(rows: pa.Table, side: str) -> npt.NDArray[np.bool_]:
    return np.asarray(rows["side"].cast(pa.string()).to_numpy() == side)


def _events(rows: pa.Table, times: LocalTimes, ev: npt.NDArray[Any]) -> Events:
    made_us = micros(rows, "time")
    local_us = times.of(made_us, micros(rows, "received"))
    found = np.zeros(rows.num_rows, _EVENT)
    found["ev"] = ev
    found["exch_ts"] = np.where(made_us == UNKNOWN, local_us, made_us) * _US
    found["local_ts"] = local_us * _US
    found["px"], found["qty"] = rows["price"].to_numpy(), rows["qty"].to_numpy()
    return found


def _by_day(batches: Iterator[Events]) -> _Batches:
    """Yield the events of each UTC day of local time; local times ascend."""
    waiting: list[Events] = []
    for batch in batches:
        days = batch["local_ts"] // _DAY_NS
        cuts = np.flatnonzero(np.diff(days)) + 1
        for part in np.split(batch, cuts):
            if len(part):
                if waiting and waiting[0]["local_ts"][0] // _DAY_NS != part["local_ts"][0] // _DAY_NS:
                    yield _joined(waiting)
                    waiting = []
                waiting.append(part)
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[Events]) -> tuple[int, Events]:
    return int(parts[0]["local_ts"][0] // _DAY_NS), np.concatenate(parts)


def _together(streams: list[_Batches]) -> _Batches:
    """Yield the events of all streams day by day; within a day those of the first stream come first."""
    heads = [next(stream, None) for stream in streams]
    while days := [head[0] for head in heads if head is not None]:
        day = min(days)
        yield day, np.concatenate([head[1] for head in heads if head is not None and head[0] == day])
        heads = [
            next(stream, None) if head is not None and head[0] == day else head
            for head, stream in zip(heads, streams, strict=True)
        ]


def _write_npz(file: HashedFile, events: Events) -> None:
    member = zipfile.ZipInfo("data.npy")  # without a time, so that equal events are equal files
    member.compress_type = zipfile.ZIP_DEFLATED
    with (
        zipfile.ZipFile(file, "w", compresslevel=1) as packed,
        packed.open(member, "w", force_zip64=True) as data,
    ):
        np.lib.format.write_array(data, events)


def ordered(events: Events) -> Events:
    """Return events in the order of both clocks; one that has different places in the two becomes two rows.

    Of events of the same time, those that come first stay first: trades before the changes of the book that they cause.
    """
    by_exchange = np.argsort(events["exch_ts"], kind="stable")
    by_local = np.argsort(events["local_ts"], kind="stable")
    same = by_exchange == by_local
    rows = np.where(same, 1, 2)
    ends = np.cumsum(rows)
    found = np.empty(int(ends[-1]), _EVENT)
    of_local = events[by_local]
    of_local["ev"] |= np.where(same, _EXCHANGE | _LOCAL, _LOCAL).astype(np.uint64)
    found[ends - 1] = of_local
    apart = np.flatnonzero(~same)
    of_exchange = events[by_exchange[apart]]
    of_exchange["ev"] |= np.uint64(_EXCHANGE)
    found[ends[apart] - 2] = of_exchange
    return found
