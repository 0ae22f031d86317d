"""The archive as a Python object: SQL, trades, candles, the exchange's candles, coverage, gaps, events.

Owns: when each call takes its moment, and that it tries again where a compaction took a file away meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import duckdb
import pyarrow as pa

from recorder.archive.schema import HeldSpan
from recorder.errors import GapError, StorageError, UsageError
from recorder.query import asked, holes
from recorder.query.asked import Format, Instant, OnGap, Range
from recorder.query.engine import Engine
from recorder.query.frames import Frame, frame
from recorder.query.snapshot import Moments, Snapshot

_ATTEMPTS: Final = 50
"""A pair is compacted every few minutes; meeting that many compactions in a row is no coincidence."""
_TRADES: Final = "FROM pair_trades($pair, make_timestamptz($start), make_timestamptz($stop)) ORDER BY trade_id"
_CANDLES: Final = "FROM candles($pair, $timeframe, make_timestamptz($start), make_timestamptz($stop))"

_TRADE_CATEGORIES: Final = ("pair", "side", "ord_type", "source")
_CANDLE_CATEGORIES: Final = ("pair", "timeframe")
_OHLC_CATEGORIES: Final = ("pair", "timeframe", "source")
_EVENT_CATEGORIES: Final = ("kind", "pair")

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of one pair: the SQL, its range, its other parameters, and which columns are categories."""

    text: str
    pair: str
    limits: Range
    params: Mapping[str, object]
    categories: tuple[str, ...]


def connect(data: str | Path = "data", *, live: bool = False, frozen: bool = False) -> Archive:
    """Open the archive in the folder ``data`` for reading. Takes no lock and never disturbs the recorder.

    By default each call sees what is archived now. ``live`` adds the trades that are only in the journal yet, so that
    one is seen within a second of its arrival; the exchange's candles, events and instruments come with the next
    drain, some minutes later. ``frozen`` keeps one moment until :meth:`Archive.refresh`. Raises NoSuchArchive.
    """
    return Archive(Path(data).absolute(), live=live, frozen=frozen)


class Archive:
    """An archive, open for reading; for the thread that made it (:meth:`cursor` gives another thread its own).

    Frames come as pandas unless ``to`` is "arrow" or "polars". Prices and quantities are doubles, or, with
    ``decimals=True``, exactly what was recorded. Times are UTC.
    """

    def __init__(self, data: Path, *, live: bool, frozen: bool, kept: Snapshot | None = None) -> None:
        """Open; called by :func:`connect`."""
        self._data = data
        self._live = live
        self._frozen = frozen
        self._thread = threading.get_ident()
        self._moments = Moments(data, live=live)
        self._engine = Engine(data)
        self._closed = False
        self._kept = kept
        if frozen and kept is None:
            self.refresh()

    def sql(self, text: str, /, *, to: Format = "pandas", decimals: bool = False, **params: object) -> Frame:
        """Return the rows of one SQL statement over the views and macros; ``$name`` stands for a parameter.

        >>> archive.sql("SELECT max(price) FROM trades WHERE pair = $pair", pair="BTC/USD")  # doctest: +SKIP
        """
        self._check(to)

        def once() -> pa.Table:
            moment = self._kept or (self._moments.take() if self._live else self._moments.listed())
            self._engine.pin(moment)
            return self._engine.fetch(text, params, exact=decimals)

        return frame(self._until_whole(once, self._find_again), to)

    def trades(
        self,
        pair: str,
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        decimals: bool = False,
    ) -> Frame:
        """Return the trades of ``pair`` in ascending id, ``start`` inclusive, ``stop`` exclusive.

        Columns: pair, trade_id, time, price, qty, side, ord_type, misc, source, received.
        Raises GapError if trades of this range are known to be missing, unless ``on_gap`` is "warn" or "ignore".
        """
        self._check(to)
        question = _Question(_TRADES, pair, asked.time_range(start, stop), {}, _TRADE_CATEGORIES)
        return frame(self._of_pair(question, on_gap=on_gap, exact=decimals), to, categories=question.categories)

    def candles(
        self,
        pair: str,
        timeframe: str,
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        decimals: bool = False,
    ) -> Frame:
        """Return the candles of ``pair`` that begin in the range, built from trades, exactly.

        Columns: pair, timeframe, time (of its start), open, high, low, close, vwap, volume, count, complete. A bar
        without trades has no row; ``complete`` is false where a trade of the bar may be missing, as in the newest.
        Raises GapError as :meth:`trades` does.
        """
        self._check(to)
        limits = asked.time_range(start, stop).in_bars(asked.timeframe(timeframe))
        question = _Question(_CANDLES, pair, limits, {"timeframe": timeframe}, _CANDLE_CATEGORIES)
        return frame(self._of_pair(question, on_gap=on_gap, exact=decimals), to, categories=question.categories)

    def ohlc(
        self,
        pair: str,
        timeframe: str,
        start: Instant = None,
        stop: Instant = None,
        *,
        filled: bool = False,
        to: Format = "pandas",
        decimals: bool = False,
    ) -> Frame:
        """Return the candles of ``pair`` that the exchange published and that begin in the range, oldest first.

        Columns: pair, timeframe, time (of its start), open, high, low, close, vwap, volume, count, source, seen; of
        each the version seen last. Every interval has one, with or without trades. Candles that were lost because
        nobody asked in time are not there, which is no error: ``filled`` puts in those that can be proven from trades,
        with the source "trades" (the view ``ohlc_filled``). The view ``ohlc_gaps`` tells which are lost.
        """
        self._check(to)
        limits = asked.time_range(start, stop)
        params = {"pair": asked.text("pair", pair), "timeframe": asked.timeframe(timeframe)}

        def once() -> pa.Table:
            moment = self._kept or (self._moments.take(pair) if filled else self._moments.without_trades())
            self._engine.pin(moment)
            found = self._select("ohlc_filled" if filled else "ohlc", params, limits, exact=decimals)
            if not found.num_rows:
                self._check_series(pair, timeframe)
            return found

        return frame(self._until_whole(once, self._find_again), to, categories=_OHLC_CATEGORIES)

    def events(
        self,
        start: Instant = None,
        stop: Instant = None,
        *,
        kind: str | None = None,
        pair: str | None = None,
        to: Format = "pandas",
    ) -> Frame:
        """Return what happened to the recorder and at the exchange in the range, oldest first.

        Columns: time, kind, pair (None for what concerns no single one), detail (a JSON object as text).
        """
        self._check(to)
        limits = asked.time_range(start, stop)
        given = {"kind": kind, "pair": pair}
        params = {column: asked.text(column, value) for column, value in given.items() if value is not None}

        def once() -> pa.Table:
            self._engine.pin(self._kept or self._moments.without_trades())
            found = self._select("events", params, limits, exact=True)
            if kind is not None and not found.num_rows:
                asked.kind(kind, self._words("SELECT DISTINCT kind FROM stored_events()"))
            if pair is not None and not found.num_rows:
                known = "SELECT pair FROM stored_events() WHERE pair IS NOT NULL UNION SELECT pair FROM instruments"
                asked.pair(pair, self._words(known), of="events")
            return found

        return frame(self._until_whole(once, self._find_again), to, categories=_EVENT_CATEGORIES)

    def coverage(self, *, to: Format = "pandas") -> Frame:
        """Return the runs of ids held: pair, first_id, last_id, first_time, last_time, rows."""
        return self.sql("FROM coverage ORDER BY pair, first_id", to=to)

    def gaps(self, *, to: Format = "pandas") -> Frame:
        """Return the holes between them: pair, first_id, last_id, missing, after_time, before_time, state."""
        return self.sql("FROM gaps ORDER BY pair, first_id", to=to)

    def certificates(self, *, hashed: bool = False, to: Format = "pandas") -> Frame:
        """Return what is proven of each UTC day of each pair, as files say of themselves; the columns of the view.

        ``hashed`` adds the column sha256, for which every row is read and set as text: for a few days ask in SQL.
        ``recorder verify`` does the same and trusts no file.
        """
        left_out = "" if hashed else "EXCLUDE (sha256) "
        return self.sql(f"SELECT * {left_out}FROM certificates ORDER BY pair, day", to=to)

    def refresh(self) -> None:
        """Move a frozen connection to this moment. The others do so at each call anyway."""
        self._check()
        if self._frozen:
            self._kept = self._until_whole(self._moments.keep)

    def cursor(self) -> Archive:
        """Return the same view of the same archive for the calling thread; of a frozen one, the same moment."""
        return Archive(self._data, live=self._live, frozen=self._frozen, kept=self._kept)

    def close(self) -> None:
        """Let go of all it holds. Closing twice is no mistake."""
        self._engine.close()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _of_pair(self, question: _Question, *, on_gap: OnGap, exact: bool) -> pa.Table:
        """Answer from one moment of one pair, so that the holes told of and the rows given agree."""
        asked.on_gap(on_gap)
        pair, limits = question.pair, question.limits
        params = {"pair": pair, "start": limits.start_us, "stop": limits.stop_us, **question.params}

        def once() -> tuple[pa.Table, list[HeldSpan]]:
            moment = self._kept or self._moments.take(pair)
            runs = moment.runs.get(pair, ())
            if not runs:
                asked.pair(pair, list(moment.runs) if self._kept else self._moments.pairs())
            missing = holes.missing_in(runs, limits)
            if missing and on_gap == "raise":
                raise GapError(holes.sentence(pair, missing))
            self._engine.pin(moment)
            return self._engine.fetch(question.text, params, exact=exact), missing

        table, missing = self._until_whole(once, self._find_again)
        if missing and on_gap == "warn":
            warnings.warn(holes.sentence(pair, missing), stacklevel=3)
        return table

    def _select(self, view: str, params: Mapping[str, str], limits: Range, *, exact: bool) -> pa.Table:
        """Return the rows of ``view`` whose columns equal ``params`` and whose time lies in the range."""
        ends = {"start": limits.start_us, "stop": limits.stop_us}
        clauses = [f"{column} = ${column}" for column in params]
        clauses += [
            f"time {'>=' if end == 'start' else '<'} make_timestamptz(${end})" for end in ends if ends[end] is not None
        ]
        where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
        given = {end: moment for end, moment in ends.items() if moment is not None}
        return self._engine.fetch(f"FROM {view}{where} ORDER BY time", {**params, **given}, exact=exact)

    def _check_series(self, pair: str, timeframe: str) -> None:
        """Return if there are candles of this series at all. Raises UsageError, which names those there are."""
        of_pair = "SELECT DISTINCT timeframe FROM stored_ohlc() WHERE pair = $pair"
        timeframes = self._words(of_pair, pair=pair)
        if not timeframes:
            asked.pair(pair, self._words("SELECT DISTINCT pair FROM stored_ohlc()"), of="candles")
        asked.recorded(pair, timeframe, timeframes)

    def _words(self, text: str, **params: str) -> list[str]:
        found: list[str] = self._engine.fetch(text, params).column(0).to_pylist()
        return found

    def _until_whole(self, once: Callable[[], _Answer], again: Callable[[], None] | None = None) -> _Answer:
        """Return what ``once`` answers, after ``again`` as often as a compaction took a file away under it."""
        for _ in range(_ATTEMPTS):
            try:
                return once()
            except FileNotFoundError as error:
                cause: Exception = error
            except duckdb.IOException as error:
                if str(self._data) not in str(error):  # a file of the caller's own
                    raise UsageError(f"DuckDB: {error}") from error
                cause = error
            if again is not None:
                with contextlib.suppress(FileNotFoundError):  # and again: the next attempt will tell
                    again()
        raise StorageError(f"{self._data} could not be read in {_ATTEMPTS} attempts: {cause}") from cause

    def _find_again(self) -> None:
        if self._kept is not None:
            self._kept = self._moments.find_again(self._kept)

    def _check(self, to: Format = "arrow") -> None:
        if self._closed:
            raise UsageError("this archive is closed; connect() opens it again")
        if threading.get_ident() != self._thread:
            raise UsageError(
                "this archive belongs to another thread, and DuckDB would mix up their rows; "
                "call its cursor() in this thread and use that"
            )
        asked.output(to)
