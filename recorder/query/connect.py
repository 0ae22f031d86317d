"""The archive as a Python object: SQL, trades, candles, the exchange's candles, coverage, gaps, events.

Contains the public methods and their documentation. The queries are in :mod:`recorder.query.reader`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, Unpack, overload

from recorder.core.event_kinds import EventKind
from recorder.errors import RecorderError, UsageError
from recorder.object_store import connected, is_address
from recorder.query import arguments, bars, catalogue, named_parameters, pair_aliases, recorded_books
from recorder.query.arguments import (
    AnyGap,
    Backend,
    BarGap,
    BarKind,
    Clock,
    Format,
    Index,
    Instant,
    Lazily,
    OnGap,
    OrderSide,
    Range,
    Width,
)
from recorder.query.dataframes import WORDS, Frame, frame
from recorder.query.frame_options import (
    Arrow,
    Bars,
    Batches,
    BookDepth,
    Books,
    BookSnapshots,
    BrokenBars,
    BrokenCandles,
    BrokenOhlc,
    BrokenTrades,
    Candles,
    Closes,
    DepthBars,
    Events,
    Exact,
    Ohlc,
    Pandas,
    Polars,
    Quotes,
    Split,
    Trades,
    Typed,
)
from recorder.query.pair_aliases import AliasWarning
from recorder.query.reader import BATCH_ROWS, Reader, Result, TradeQuery

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from recorder.query.follow import After, Follower

Pairs: TypeAlias = str | Iterable[str]
"""One pair or several, by any of their names."""
Size: TypeAlias = Width | float | Decimal
"""The length of bars of time; a number of trades, or an amount, of others."""
_Names: TypeAlias = Mapping[str, str]
"""The pair that each name means."""

_TRADE_CATEGORIES: Final = ("side", "ord_type", "source")
_CANDLE_CATEGORIES: Final = ("timeframe",)
_OHLC_CATEGORIES: Final = ("timeframe", "source")
_CERTIFICATES: Final = "SELECT * EXCLUDE (sha256) FROM certificates ORDER BY pair, day"
_HASHED: Final = """
SELECT * REPLACE (
    CASE WHEN rows = certified_rows AND sha256 <> certified_sha256 AND status <> 'pending' THEN 'open' ELSE status END
    AS status
)
FROM certificates
ORDER BY pair, day
"""
_KINDS: Final = tuple(str(kind) for kind in EventKind)
_LACKED: Final = ("first_id", "last_id", "certified_rows")
"""Columns of certificates that are empty on days without trades, or on days never certified."""
_UNTRADED: Final = ("first_id", "last_id", "count")
"""Columns of bars that are empty for bars without trades."""
_OF_LEVELS: Final = ("checksum",)
"""Columns of changes of a book that are empty for most."""
_OF_MESSAGES: Final = ("session", "message")
"""Columns of a wide book that are empty where nothing is known."""
_INSTRUMENTS: Final = "FROM instruments WHERE $pairs IS NULL OR list_contains($pairs, pair) ORDER BY pair, valid_from"


def connect(
    data: str | Path = "data",
    *,
    live: bool = False,
    frozen: bool = False,
    check: bool = False,
    threads: int | None = None,
    memory: str | None = None,
) -> Archive:
    """Open the archive in the folder ``data`` for reading. Takes no lock, writes nothing, and needs no recorder.

    ``data`` may also be the address of a copy in object storage, ``s3://bucket/prefix``, which needs the extra ``s3``;
    credentials and endpoint are those of all tools of AWS (AWS_PROFILE, AWS_ENDPOINT_URL, …).

    By default each call sees what is archived now. ``live`` adds the trades, the exchange's candles and the events that
    are still only in the journal, so that each is visible within a second of its arrival; listings, and the events that
    report revised or lost candles, arrive with the next drain, some minutes later. ``frozen`` keeps one snapshot until
    :meth:`Archive.refresh`. ``check`` reads every file that a query may touch, once, and raises CorruptFile if its
    bytes are not those that were written: DuckDB itself verifies no checksum. A query uses at most ``threads`` threads
    and ``memory`` memory ("2GB"); by default all cores and four fifths of the memory. Raises NoSuchArchive, UsageError.

    >>> import recorder
    >>> with recorder.connect(data) as archive:
    ...     archive.pairs()
    ['BTC/USD', 'ETH/USD']
    """
    bounds = arguments.bounds(threads, memory)
    place = connected(data)
    if live and is_address(place):
        raise UsageError(f"{place} is a copy in object storage, beside which no recorder journals: leave out live")
    reader = Reader(place, live=live, frozen=frozen, check=check, bounds=bounds)
    reader.refresh()
    return Archive(reader)


def connect_confined(data: Path, *, threads: int, memory: str) -> Archive:
    """Open an archive as ``connect(live=True)`` does, for statements that come from elsewhere.

    They can read no file outside ``data``, and none of the caller's frames. Raises NoSuchArchive.
    """
    reader = Reader(
        data.absolute(), live=True, frozen=False, check=False, bounds=arguments.bounds(threads, memory), confined=True
    )
    reader.refresh()
    return Archive(reader)


class Archive:
    """An archive, open for reading; for the thread that made it (:meth:`cursor` gives another thread its own).

    Frames are pandas unless ``to`` is "arrow" or "polars". Prices and quantities are doubles, or, with
    ``decimals=True``, exactly what was recorded. Times are UTC. A time argument is a datetime with a time zone, ISO
    8601 text with one, or a day, which begins at midnight UTC; None is an open end. A pair may be given by any of the
    exchange's names of it (:meth:`resolve`).

    In pandas ``index="time"`` makes the times the index. ``side``, ``ord_type``, ``timeframe`` and ``source`` are
    categories with the same words in the same order in every frame, and the categories of ``pair`` are the requested
    pairs: pandas.concat() of frames of different pairs turns it into text, so request several pairs at once, or use
    pandas.api.types.union_categoricals(). Frames without rows have the same types. With ``dtype_backend="pyarrow"``
    columns have Arrow's types, and these are texts.

    ``on_gap`` is what to do about trades of the range that are known to be missing (void ids, which the exchange does
    not have, and disowned ones do not count): "raise" a GapError; "warn"; "ignore" them; "split", for a list with a
    frame for each unbroken run of ids, without the bars that a gap touches; or "null", for bars of all kinds: a bar
    that a gap touches has a row without values, also if it lies in the gap, and ``count`` is the number of trades that
    are stored.

    Frames of trades and bars, and those of :meth:`query`, describe in ``df.attrs`` (in Arrow's metadata under
    ``recorder``, as JSON) the data they are based on: ``coverage``, for each pair the runs of ids used; ``missing``,
    how many ids are known to be missing in the range; ``begins``, for each pair that begins later than the range, when;
    and ``digest``, the SHA-256 of those ids (:func:`recorder.query.provenance.digest`). Trades never change, so equal
    digests mean the same trades, whatever was added or merged meanwhile. With ``hashed=True`` there is also ``sha256``,
    for each pair the digest of its canonical rows (docs/format.md), for which all rows are read once more. Where a pair
    was given by another name, ``aliases`` says which was taken.
    """

    def __init__(self, reader: Reader) -> None:
        """Query through ``reader``; called by :func:`connect`."""
        self._reader = reader

    @overload
    def sql(
        self,
        text: str,
        /,
        *,
        to: Pandas = ...,
        dtype_backend: Backend = ...,
        decimals: bool = ...,
        index: Index = ...,
        **params: object,
    ) -> pd.DataFrame: ...
    @overload
    def sql(
        self,
        text: str,
        /,
        *,
        to: Arrow,
        dtype_backend: Backend = ...,
        decimals: bool = ...,
        index: Index = ...,
        **params: object,
    ) -> pa.Table: ...
    @overload
    def sql(
        self,
        text: str,
        /,
        *,
        to: Polars,
        dtype_backend: Backend = ...,
        decimals: bool = ...,
        index: Index = ...,
        **params: object,
    ) -> pl.DataFrame: ...
    def sql(
        self,
        text: str,
        /,
        *,
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
        **params: object,
    ) -> Frame:
        """Return the rows of one SQL statement over the views and macros; ``$name`` stands for a parameter.

        The statement may only read (:mod:`recorder.query.read_only_sql`), including the caller's frames, ``FROM df``,
        and files, ``FROM 'x.csv'``. A statement that writes, or changes a setting, raises UsageError.

        A time among the parameters must have a time zone. A pair is the v2 symbol, since SQL compares texts;
        :meth:`resolve` finds it. Passing a pair without trades to a macro raises UsageError.

        >>> archive.sql("SELECT max(price) AS highest FROM trades WHERE pair = $pair", pair="BTC/USD")
           highest
        0    102.0
        """
        how = self._how(to, dtype_backend, index)
        return _frame(self._reader.sql(text, params, exact=decimals), how)

    @overload
    def query(
        self,
        name: str | None = ...,
        /,
        *,
        to: Pandas = ...,
        dtype_backend: Backend = ...,
        decimals: bool = ...,
        index: Index = ...,
        **params: object,
    ) -> pd.DataFrame: ...
    @overload
    def query(
        self,
        name: str | None = ...,
        /,
        *,
        to: Arrow,
        dtype_backend: Backend = ...,
        decimals: bool = ...,
        index: Index = ...,
        **params: object,
    ) -> pa.Table: ...
    @overload
    def query(
        self,
        name: str | None = ...,
        /,
        *,
        to: Polars,
        dtype_backend: Backend = ...,
        decimals: bool = ...,
        index: Index = ...,
        **params: object,
    ) -> pl.DataFrame: ...
    def query(
        self,
        name: str | None = None,
        /,
        *,
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
        **params: Any,
    ) -> Frame:
        """Return the rows of a query of the catalogue, as ``recorder query`` does; without a name, the list of them.

        The parameters have the names that the list gives. A width is a timedelta or text, a time as everywhere. Trades
        that may be missing in the result, and a pair that begins later than the range, are warned of. Where the rows
        name no ids, ``df.attrs`` describes the trades from ``start`` to ``stop``; for what is certified it is empty.
        Integers are Int64 in pandas, since some may be missing.
        Raises UsageError for an unknown name or parameter, or one that is missing or invalid.

        >>> archive.query("vwap", pair="BTC/USD", width="1 minute", index="time")[["vwap", "volume", "count"]]
                                    vwap  volume  count
        time
        2025-11-10 12:00:00+00:00  101.0     3.0      3
        >>> archive.query()["query"].tolist()[:3]
        ['bulk_audit', 'candle_audit', 'certificates']
        """
        how = self._how(to, dtype_backend, index)
        if name is None:
            return _frame(Result(named_parameters.listed(catalogue.questions()), {}), how)
        asked = catalogue.question(name)
        given = named_parameters.written(params)
        limits = arguments.time_range(params.get("start"), params.get("stop"))
        if params.get("pair") is not None:
            arguments.text("pair", params["pair"])
        named = params.get("pairs", params.get("pair"))
        names = {} if named is None else self._names(named)
        chosen = _chosen(names)
        given |= {key: list(chosen) if key == "pairs" else chosen[0] for key in ("pair", "pairs") if key in given}
        bound = asked.bound(given)
        answer = self._reader.named(TradeQuery(chosen, limits, "ignore", decimals), asked, bound)
        return _frame(answer, how, names, nullable=answer.rows.column_names)

    def check(self, text: str) -> None:
        """Raise UsageError unless a text is one SQL statement that only reads, as :meth:`sql` does; run nothing.

        >>> archive.check("SELECT count(*) FROM trades")
        """
        self._check()
        self._reader.check_statement(text)

    def register(self, name: str, rows: Frame) -> None:
        """Register a frame (pandas, Arrow or polars) under a name for :meth:`sql`; cursors do not see it.

        >>> import pandas as pd
        >>> archive.register("signals", pd.DataFrame({"trade_id": [2], "score": [0.5]}))
        >>> archive.sql("SELECT trade_id, price, score FROM trades JOIN signals USING (trade_id)")
           trade_id  price  score
        0         2  102.0    0.5
        """
        self._check()
        self._reader.register(name, rows)

    def pairs(self) -> list[str]:
        """Return the pairs that have trades, sorted.

        >>> archive.candles(archive.pairs(), "1d")["pair"].astype(str).tolist()
        ['BTC/USD', 'ETH/USD']
        """
        self._check()
        return sorted(self._reader.pairs())

    def resolve(self, name: str) -> str:
        """Return the pair that a name means: its v2 symbol, or any other of the exchange's names, in any spelling.

        The archive's own listing decides. Every method resolves names in this way; where it takes a pair for another
        name, it emits an AliasWarning, and says so in ``df.attrs["aliases"]``. Raises UsageError, which lists them, if
        the name may mean several pairs.

        >>> archive.resolve("xbt/usd"), archive.resolve("XBTUSD"), archive.resolve("BTC-USD")
        ('BTC/USD', 'BTC/USD', 'BTC/USD')
        """
        (pair,) = self._names(arguments.text("pair", name)).values()
        return arguments.pair(pair, self._reader.pairs())

    @overload
    def trades(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Pandas = ..., **how: Unpack[Trades]
    ) -> pd.DataFrame: ...
    @overload
    def trades(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[Trades]
    ) -> pa.Table: ...
    @overload
    def trades(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Polars, **how: Unpack[Trades]
    ) -> pl.DataFrame: ...
    @overload
    def trades(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Pandas = ..., **how: Unpack[BrokenTrades]
    ) -> list[pd.DataFrame]: ...
    @overload
    def trades(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[BrokenTrades]
    ) -> list[pa.Table]: ...
    @overload
    def trades(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Polars, **how: Unpack[BrokenTrades]
    ) -> list[pl.DataFrame]: ...
    def trades(
        self,
        pair: Pairs,
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: OnGap | Split = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
        hashed: bool = False,
    ) -> Frame:
        """Return the trades of one pair, or of several in the order given, in ascending id.

        ``start`` is inclusive, ``stop`` exclusive. Columns: pair, trade_id, time, price, qty, side, ord_type, misc,
        source, received. Raises GapError if trades of this range are missing, unless ``on_gap`` is "warn", "ignore" or
        "split"; UsageError for a pair without trades.

        >>> found = archive.trades("BTC/USD", "2025-11-10T12:00:00Z", "2025-11-10T12:00:03Z")
        >>> found[["trade_id", "price", "qty", "side"]]
           trade_id  price  qty side
        0         1  101.0  1.0  buy
        1         2  102.0  1.0  buy
        >>> found.attrs["coverage"]
        {'BTC/USD': [[1, 2]]}
        >>> [len(run) for run in archive.trades("BTC/USD", on_gap="split")]
        [3]
        """
        how = self._how(to, dtype_backend, index)
        limits = arguments.time_range(start, stop)
        arguments.on_gap(on_gap, "split")
        names = self._names(pair)
        question = TradeQuery(_chosen(names), limits, on_gap, decimals, hashed)
        return _frames(self._reader.trades(question), how, names, on_gap, _fixed(question.pairs, _TRADE_CATEGORIES))

    @overload
    def candles(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Pandas = ...,
        **how: Unpack[Candles],
    ) -> pd.DataFrame: ...
    @overload
    def candles(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Arrow,
        **how: Unpack[Candles],
    ) -> pa.Table: ...
    @overload
    def candles(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Polars,
        **how: Unpack[Candles],
    ) -> pl.DataFrame: ...
    @overload
    def candles(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Pandas = ...,
        **how: Unpack[BrokenCandles],
    ) -> list[pd.DataFrame]: ...
    @overload
    def candles(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Arrow,
        **how: Unpack[BrokenCandles],
    ) -> list[pa.Table]: ...
    @overload
    def candles(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Polars,
        **how: Unpack[BrokenCandles],
    ) -> list[pl.DataFrame]: ...
    def candles(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: AnyGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
        hashed: bool = False,
        bulk: bool = False,
    ) -> Frame:
        """Return the candles of one pair or several that begin in the range, built exactly from trades.

        Columns: pair, timeframe, time (of its start), open, high, low, close, vwap, volume, count, complete. A bar
        without trades has no row; ``complete`` is false where a trade of the bar may be missing, as in the newest.
        :meth:`bars` makes bars of any other length. Raises GapError if trades of these bars are missing, unless
        ``on_gap`` is "warn", "ignore", "null" or "split".

        With ``bulk=True`` bars for which the stored trades are not whole come from history files, if these cover them,
        each from one source, which the column ``origin`` names: ``trades``, ``bulk_trades`` or ``bulk_ohlc``, which has
        no vwap. A gap is then a bar between others that no source covers whole. ``hashed`` cannot be combined with it.

        >>> found = archive.candles("BTC/USD", "1m", "2025-11-10", "2025-11-11")
        >>> found[["open", "high", "low", "close", "volume", "count"]]
            open   high    low  close  volume  count
        0  101.0  102.0  100.0  100.0     3.0      3
        """
        how = self._how(to, dtype_backend, index)
        limits = arguments.time_range(start, stop).in_bars(arguments.timeframe(timeframe))
        arguments.on_gap(on_gap, "null", "split")
        names = self._names(pair)
        question = TradeQuery(_chosen(names), limits, on_gap, decimals, hashed)
        if bulk:
            answers = self._reader.bulk_candles(question, timeframe)
            return _frames(answers, how, names, on_gap, _fixed(question.pairs, (*_CANDLE_CATEGORIES, "origin")))
        answers = self._reader.candles(question, timeframe)
        return _frames(answers, how, names, on_gap, _fixed(question.pairs, _CANDLE_CATEGORIES))

    @overload
    def bars(
        self,
        pair: Pairs,
        size: Size,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Pandas = ...,
        **how: Unpack[Bars],
    ) -> pd.DataFrame: ...
    @overload
    def bars(
        self, pair: Pairs, size: Size, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[Bars]
    ) -> pa.Table: ...
    @overload
    def bars(
        self, pair: Pairs, size: Size, start: Instant = ..., stop: Instant = ..., *, to: Polars, **how: Unpack[Bars]
    ) -> pl.DataFrame: ...
    @overload
    def bars(
        self,
        pair: Pairs,
        size: Size,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Pandas = ...,
        **how: Unpack[BrokenBars],
    ) -> list[pd.DataFrame]: ...
    @overload
    def bars(
        self,
        pair: Pairs,
        size: Size,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Arrow,
        **how: Unpack[BrokenBars],
    ) -> list[pa.Table]: ...
    @overload
    def bars(
        self,
        pair: Pairs,
        size: Size,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Polars,
        **how: Unpack[BrokenBars],
    ) -> list[pl.DataFrame]: ...
    def bars(
        self,
        pair: Pairs,
        size: Size,
        start: Instant = None,
        stop: Instant = None,
        *,
        kind: BarKind = "time",
        filled: bool = False,
        origin: Instant = None,
        on_gap: AnyGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
        hashed: bool = False,
    ) -> Frame:
        """Return bars of one pair or several that begin in the range: of any length, or of equal trade.

        ``size`` is the length of bars of "time", a timedelta or text such as "7 minutes"; a number of trades for the
        ``kind`` "tick", of the base currency for "volume", of the quote currency for "dollar". Columns: pair, time (of
        its start), time_end, first_id, last_id, open, high, low, close, vwap, volume, amount, count, buy_volume,
        complete, missing_trades; the macros of the same names describe them (docs/queries.md).

        Bars of time are counted from ``origin``, by default 1970-01-01 UTC, and ``filled`` adds those without trades,
        with the previous close, or without values where that is not known; then first_id, last_id and count are Int64
        in pandas. Raises GapError if trades of the range are missing, unless ``on_gap`` is "warn", "ignore", "null" or
        "split"; UsageError for an impossible size.

        >>> archive.bars("BTC/USD", "2 seconds", index="time")[["first_id", "last_id", "close", "count"]]
                                   first_id  last_id  close  count
        time
        2025-11-10 12:00:00+00:00         1        1  101.0      1
        2025-11-10 12:00:02+00:00         2        3  100.0      2
        >>> archive.bars("BTC/USD", 2, kind="tick")[["first_id", "last_id", "close", "complete"]]
           first_id  last_id  close  complete
        0         1        2  102.0      True
        1         3        3  100.0     False
        """
        how = self._how(to, dtype_backend, index)
        wanted = bars.query(kind, size, filled=filled, origin_us=arguments.moment("origin", origin))
        limits = wanted.limits(arguments.time_range(start, stop))
        arguments.on_gap(on_gap, "null", "split")
        names = self._names(pair)
        question = TradeQuery(_chosen(names), limits, on_gap, decimals, hashed)
        untraded = _UNTRADED if filled or on_gap == "null" else ()
        answers = self._reader.bars(question, wanted)
        return _frames(answers, how, names, on_gap, _fixed(question.pairs), nullable=untraded)

    @overload
    def closes(
        self,
        pairs: Pairs,
        width: Width,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Pandas = ...,
        **how: Unpack[Closes],
    ) -> pd.DataFrame: ...
    @overload
    def closes(
        self, pairs: Pairs, width: Width, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[Closes]
    ) -> pa.Table: ...
    @overload
    def closes(
        self,
        pairs: Pairs,
        width: Width,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Polars,
        **how: Unpack[Closes],
    ) -> pl.DataFrame: ...
    def closes(
        self,
        pairs: Pairs,
        width: Width,
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: BarGap = "null",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = "time",
        hashed: bool = False,
    ) -> Frame:
        """Return the close of each bar of this ``width``: a column for each pair, and a row for each bar of one grid.

        The grid is unbroken from the first bar that any pair has to the last. A bar without trades has the previous
        close. A close is null where it is not known: in bars that a gap touches (``on_gap="ignore"`` gives the last
        price that is stored in them), before the first trade of a pair and after its last one. The last row may be of a
        bar that is not over yet: ``stop`` leaves it out. In pandas the times are the index, unless ``index`` is None;
        elsewhere they are the column ``time``.

        >>> archive.closes(["BTC/USD", "ETH/USD"], "1 second")
                                   BTC/USD  ETH/USD
        time
        2025-11-10 12:00:01+00:00    101.0      5.0
        2025-11-10 12:00:02+00:00    102.0      NaN
        2025-11-10 12:00:03+00:00    100.0      NaN
        """
        how = self._how(to, dtype_backend, index if to == "pandas" else None)
        width_us = arguments.width_us(width)
        limits = arguments.time_range(start, stop).in_widths(width_us)
        arguments.on_gap(on_gap, "null")
        names = self._names(pairs)
        question = TradeQuery(_chosen(names), limits, on_gap, decimals, hashed)
        return _frame(self._reader.closes(question, width_us), how, names)

    @overload
    def latest(self, pairs: Pairs | None = ..., *, to: Pandas = ..., **how: Unpack[Exact]) -> pd.DataFrame: ...
    @overload
    def latest(self, pairs: Pairs | None = ..., *, to: Arrow, **how: Unpack[Exact]) -> pa.Table: ...
    @overload
    def latest(self, pairs: Pairs | None = ..., *, to: Polars, **how: Unpack[Exact]) -> pl.DataFrame: ...
    def latest(
        self,
        pairs: Pairs | None = None,
        *,
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
    ) -> Frame:
        """Return the newest trade of each pair, or of some: pair, trade_id, time, price, qty, side.

        The newest is the one of the highest id. It costs a row group for each file with one, which is remembered.

        >>> archive.latest()[["pair", "trade_id", "price"]]
              pair  trade_id  price
        0  BTC/USD         3  100.0
        1  ETH/USD         1    5.0
        """
        how = self._how(to, dtype_backend, index)
        names = {} if pairs is None else self._names(pairs)
        chosen = tuple(self.pairs()) if pairs is None else _chosen(names)
        categories = {"pair": chosen, "side": WORDS["side"]}
        return _frame(self._reader.latest(chosen, exact=decimals), how, names, categories)

    @overload
    def batches(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Pandas = ..., **how: Unpack[Batches]
    ) -> Iterator[pd.DataFrame]: ...
    @overload
    def batches(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[Batches]
    ) -> Iterator[pa.Table]: ...
    @overload
    def batches(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Polars, **how: Unpack[Batches]
    ) -> Iterator[pl.DataFrame]: ...
    def batches(
        self,
        pair: Pairs,
        start: Instant = None,
        stop: Instant = None,
        *,
        rows: int = BATCH_ROWS,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
        check: bool = False,
    ) -> Iterator[Frame]:
        """Return the rows of :meth:`trades` in batches, for ranges that do not fit in memory.

        A batch belongs to one pair, has at most ``rows`` rows, in ascending id, and its own ``df.attrs``. All batches
        belong to the snapshot of this call, whatever is added or merged while they are read; other calls may be made in
        between. ``check`` is that of :func:`connect`, for this call.

        >>> [len(piece) for piece in archive.batches(["BTC/USD", "ETH/USD"], rows=2)]
        [2, 1, 1]
        """
        how = self._how(to, dtype_backend, index)
        limits = arguments.time_range(start, stop)
        arguments.on_gap(on_gap)
        names = self._names(pair)
        question = TradeQuery(_chosen(names), limits, on_gap, decimals, checked=check)
        pieces, warning = self._reader.pieces(question, arguments.rows(rows))
        _warn(warning, names, stacklevel=2)
        categories = _fixed(question.pairs, _TRADE_CATEGORIES)
        return (_made(piece, how, names, categories) for piece in pieces)

    @overload
    def ohlc(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Pandas = ...,
        **how: Unpack[Ohlc],
    ) -> pd.DataFrame: ...
    @overload
    def ohlc(
        self, pair: Pairs, timeframe: str, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[Ohlc]
    ) -> pa.Table: ...
    @overload
    def ohlc(
        self, pair: Pairs, timeframe: str, start: Instant = ..., stop: Instant = ..., *, to: Polars, **how: Unpack[Ohlc]
    ) -> pl.DataFrame: ...
    @overload
    def ohlc(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Pandas = ...,
        **how: Unpack[BrokenOhlc],
    ) -> list[pd.DataFrame]: ...
    @overload
    def ohlc(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Arrow,
        **how: Unpack[BrokenOhlc],
    ) -> list[pa.Table]: ...
    @overload
    def ohlc(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = ...,
        stop: Instant = ...,
        *,
        to: Polars,
        **how: Unpack[BrokenOhlc],
    ) -> list[pl.DataFrame]: ...
    def ohlc(
        self,
        pair: Pairs,
        timeframe: str,
        start: Instant = None,
        stop: Instant = None,
        *,
        filled: bool = False,
        on_gap: AnyGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
    ) -> Frame:
        """Return the candles of one pair or several that the exchange published and that begin in the range.

        Columns: pair, timeframe, time (of its start), open, high, low, close, vwap, volume, count, source, seen; for
        each candle the version seen last, oldest candle first. Every interval has one, with or without trades.
        ``filled`` adds candles that were lost because they were not requested in time, if they can be proven from
        trades, with the source "trades" (the view ``ohlc_filled``). Raises GapError if candles are lost between
        existing ones, unless ``on_gap`` is "warn", "ignore", "null" (a lost candle has a row without values) or "split"
        (a frame for each stretch without a lost one); ``df.attrs["missing"]`` counts them. The view ``ohlc_gaps`` lists
        all.

        >>> archive.ohlc("BTC/USD", "1m", "2025-11-10")[["open", "high", "low", "close", "vwap", "volume", "count"]]
            open   high    low  close   vwap  volume  count
        0  101.0  102.0  100.0  100.0  101.0     3.0      3
        """
        how = self._how(to, dtype_backend, index)
        arguments.timeframe(timeframe)
        limits = arguments.time_range(start, stop)
        arguments.on_gap(on_gap, "null", "split")
        names = self._names(pair)
        question = TradeQuery(_chosen(names), limits, on_gap, decimals)
        answers = self._reader.ohlc(question, timeframe, filled=filled)
        return _frames(answers, how, names, on_gap, _fixed(question.pairs, _OHLC_CATEGORIES))

    @overload
    def quotes(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Pandas = ..., **how: Unpack[Quotes]
    ) -> pd.DataFrame: ...
    @overload
    def quotes(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[Quotes]
    ) -> pa.Table: ...
    @overload
    def quotes(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Polars, **how: Unpack[Quotes]
    ) -> pl.DataFrame: ...
    def quotes(
        self,
        pair: Pairs,
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
    ) -> Frame:
        """Return the recorded best bids and asks of one pair, or of several in the order given, by session and message.

        ``start`` is inclusive, ``stop`` exclusive, both by receive time. Columns: pair, time (the exchange's, may be
        missing), received, bid, bid_qty, ask, ask_qty, last, session, message. Quotes cannot be fetched again. Raises
        GapError if nothing was recorded in some stretch of the range between two sessions or before the first one, if
        frames of it could not be read, or if rows belong to no session, unless ``on_gap`` is "warn" or "ignore";
        UsageError for a pair without quotes. ``df.attrs`` has all of that as ``unknown``, ``begins``, ``missing`` and
        ``outside``; ``sessions``, with the first and last message used of each; and a ``digest`` of these.

        >>> archive.quotes("BTC/USD")[["bid", "ask", "message"]]
             bid    ask  message
        0  100.0  101.0        0
        1  100.5  101.0        1
        """
        how = self._how(to, dtype_backend, index)
        limits = arguments.time_range(start, stop)
        arguments.on_gap(on_gap)
        names = self._names(pair)
        question = TradeQuery(_chosen(names), limits, on_gap, decimals)
        return _frame(self._reader.quotes(question), how, names, _fixed(question.pairs))

    @overload
    def quote_batches(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Pandas = ..., **how: Unpack[Batches]
    ) -> Iterator[pd.DataFrame]: ...
    @overload
    def quote_batches(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[Batches]
    ) -> Iterator[pa.Table]: ...
    @overload
    def quote_batches(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Polars, **how: Unpack[Batches]
    ) -> Iterator[pl.DataFrame]: ...
    def quote_batches(
        self,
        pair: Pairs,
        start: Instant = None,
        stop: Instant = None,
        *,
        rows: int = BATCH_ROWS,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
        check: bool = False,
    ) -> Iterator[Frame]:
        """Return the rows of :meth:`quotes` in batches, as :meth:`batches` returns those of :meth:`trades`.

        >>> [len(piece) for piece in archive.quote_batches("BTC/USD", rows=1)]
        [1, 1]
        """
        how = self._how(to, dtype_backend, index)
        limits = arguments.time_range(start, stop)
        arguments.on_gap(on_gap)
        names = self._names(pair)
        question = TradeQuery(_chosen(names), limits, on_gap, decimals, checked=check)
        pieces, warning = self._reader.quote_pieces(question, arguments.rows(rows))
        _warn(warning, names, stacklevel=2)
        return (_made(piece, how, names, _fixed(question.pairs)) for piece in pieces)

    @overload
    def book(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Pandas = ..., **how: Unpack[Quotes]
    ) -> pd.DataFrame: ...
    @overload
    def book(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[Quotes]
    ) -> pa.Table: ...
    @overload
    def book(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Polars, **how: Unpack[Quotes]
    ) -> pl.DataFrame: ...
    def book(
        self,
        pair: Pairs,
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
    ) -> Frame:
        """Return the recorded changes of the books of one pair, or of several in the order given, as received.

        ``start`` is inclusive, ``stop`` exclusive, both by receive time. Columns: pair, time (the exchange's, may be
        missing), received, session, message, position, kind, side, price, qty, checksum, verified; one row for each
        price that a message sets, by session, message and position. Within a session the last row of each side and
        price is the book, without those whose qty is zero. ``verified`` tells whether the checksum after the message
        held, which covers the best ten levels of each side. Books cannot be fetched again. Raises GapError if nothing
        was recorded in some stretch of the range between two sessions or before the first one, or if messages of it
        are not stored, unless ``on_gap`` is "warn" or "ignore"; UsageError for a pair without a book. ``df.attrs`` has
        all of that as ``unknown``, ``begins`` and ``missing``, how many messages are ``unverified``, and ``sessions``,
        with the first and last message of each.

        >>> archive.book("BTC/USD")[["message", "kind", "side", "price", "qty", "verified"]].tail(2)
           message    kind side  price  qty  verified
        4        1  update  bid  100.5  2.0      True
        5        2  update  bid  100.5  0.0      True
        """
        how = self._how(to, dtype_backend, index)
        limits = arguments.time_range(start, stop)
        arguments.on_gap(on_gap)
        names = self._names(pair)
        question = TradeQuery(_chosen(names), limits, on_gap, decimals)
        return _frame(self._reader.book(question), how, names, _fixed_book(question.pairs), _OF_LEVELS)

    @overload
    def book_batches(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Pandas = ..., **how: Unpack[Batches]
    ) -> Iterator[pd.DataFrame]: ...
    @overload
    def book_batches(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[Batches]
    ) -> Iterator[pa.Table]: ...
    @overload
    def book_batches(
        self, pair: Pairs, start: Instant = ..., stop: Instant = ..., *, to: Polars, **how: Unpack[Batches]
    ) -> Iterator[pl.DataFrame]: ...
    def book_batches(
        self,
        pair: Pairs,
        start: Instant = None,
        stop: Instant = None,
        *,
        rows: int = BATCH_ROWS,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        index: Index = None,
        check: bool = False,
    ) -> Iterator[Frame]:
        """Return the rows of :meth:`book` in batches, as :meth:`batches` returns those of :meth:`trades`.

        A batch is of one session and UTC day, and of whole messages: one that has more than ``rows`` rows is a batch
        by itself.

        >>> [len(piece) for piece in archive.book_batches("BTC/USD", rows=2)]
        [4, 2]
        """
        how = self._how(to, dtype_backend, index)
        limits = arguments.time_range(start, stop)
        arguments.on_gap(on_gap)
        names = self._names(pair)
        question = TradeQuery(_chosen(names), limits, on_gap, decimals, checked=check)
        pieces, warning = self._reader.book_pieces(question, arguments.rows(rows))
        _warn(warning, names, stacklevel=2)
        return (_made(piece, how, names, _fixed_book(question.pairs), _OF_LEVELS) for piece in pieces)

    @overload
    def book_at(self, pair: str, moment: Instant, *, to: Pandas = ..., **how: Unpack[BookDepth]) -> pd.DataFrame: ...
    @overload
    def book_at(self, pair: str, moment: Instant, *, to: Arrow, **how: Unpack[BookDepth]) -> pa.Table: ...
    @overload
    def book_at(self, pair: str, moment: Instant, *, to: Polars, **how: Unpack[BookDepth]) -> pl.DataFrame: ...
    def book_at(
        self,
        pair: str,
        moment: Instant,
        *,
        depth: int = 10,
        by: Clock = "received",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
    ) -> Frame:
        """Return the book of a pair at a moment: ``depth`` levels of each side, bids first, the best of each first.

        ``by`` says whose clock the moment is of: "received" is the recording host's, "time" the exchange's. Columns:
        pair, moment, session, message, time, received (of the last message before the moment), side, level (from 1),
        price, qty, verified. ``verified`` is true where checksums prove the level: the message is confirmed by a later
        one, none before it is missing, and the level is one of the best ten; otherwise it is as received. No rows if
        nothing is known of the moment; raises UsageError for a pair without a book.

        >>> archive.book_at("BTC/USD", "2025-11-10T12:00:01Z", depth=1)[["side", "level", "price", "qty", "verified"]]
          side  level  price  qty  verified
        0  bid      1  100.5  2.0      True
        1  ask      1  101.0  1.0      True
        """
        how = self._how(to, dtype_backend)
        question = recorded_books.at(_moment_us(moment), depth, by)
        names = self._names(arguments.text("pair", pair))
        (pair,) = _chosen(names)
        return _frame(self._reader.book_at(pair, question, exact=decimals), how, names, _fixed_book((pair,)))

    @overload
    def book_snapshots(
        self, pair: str, start: Instant, stop: Instant, every: Width, *, to: Pandas = ..., **how: Unpack[BookSnapshots]
    ) -> pd.DataFrame: ...
    @overload
    def book_snapshots(
        self, pair: str, start: Instant, stop: Instant, every: Width, *, to: Arrow, **how: Unpack[BookSnapshots]
    ) -> pa.Table: ...
    @overload
    def book_snapshots(
        self, pair: str, start: Instant, stop: Instant, every: Width, *, to: Polars, **how: Unpack[BookSnapshots]
    ) -> pl.DataFrame: ...
    def book_snapshots(
        self,
        pair: str,
        start: Instant,
        stop: Instant,
        every: Width,
        *,
        depth: int = 10,
        by: Clock = "received",
        wide: bool = False,
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
    ) -> Frame:
        """Return the book of a pair at each multiple of ``every`` since 1970, from ``start``, before ``stop``.

        The rows are those of :meth:`book_at` at each moment; moments of which nothing is known have none. With ``wide``
        there is one row for each moment, also for those: pair, moment, then bid_price_0, bid_qty_0, ask_price_0,
        ask_qty_0, bid_price_1 and so on up to ``depth``, then session, message, verified (of all levels shown). The
        moments are queried by the hour, so that memory is needed for the answer alone.

        >>> limits = "2025-11-10T12:00:00Z", "2025-11-10T12:00:02Z", "1 second"
        >>> wide = archive.book_snapshots("BTC/USD", *limits, depth=1, wide=True)
        >>> wide[["bid_price_0", "bid_qty_0", "ask_price_0", "ask_qty_0", "verified"]]
           bid_price_0  bid_qty_0  ask_price_0  ask_qty_0  verified
        0        100.0        1.0        101.0        1.0      True
        1        100.5        2.0        101.0        1.0      True
        """
        how = self._how(to, dtype_backend)
        question, limits, width = recorded_books.snapshots(depth, by, wide=wide), *_grid(start, stop, every)
        names = self._names(arguments.text("pair", pair))
        (pair,) = _chosen(names)
        found = self._reader.book_grid(pair, question, limits, width, exact=decimals)
        return _frame(found, how, names, _fixed_book((pair,), found.rows), _OF_MESSAGES)

    @overload
    def depth_bars(
        self, pair: str, start: Instant, stop: Instant, every: Width, *, to: Pandas = ..., **how: Unpack[DepthBars]
    ) -> pd.DataFrame: ...
    @overload
    def depth_bars(
        self, pair: str, start: Instant, stop: Instant, every: Width, *, to: Arrow, **how: Unpack[DepthBars]
    ) -> pa.Table: ...
    @overload
    def depth_bars(
        self, pair: str, start: Instant, stop: Instant, every: Width, *, to: Polars, **how: Unpack[DepthBars]
    ) -> pl.DataFrame: ...
    def depth_bars(
        self,
        pair: str,
        start: Instant,
        stop: Instant,
        every: Width,
        *,
        basis_points: float = 10,
        by: Clock = "received",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
    ) -> Frame:
        """Return how much the book of a pair held near its middle, at the moments of :meth:`book_snapshots`.

        Columns: pair, moment, mid, bid_qty, ask_qty (sums of quantities at most ``basis_points`` hundredths of a
        percent from mid), bid_amount, ask_amount (the same times price), covered (whether the recorded levels reach
        that far), verified. Moments of which nothing is known have no row.

        >>> limits = "2025-11-10T12:00:00Z", "2025-11-10T12:00:02Z", "1 second"
        >>> archive.depth_bars("BTC/USD", *limits, basis_points=60)[["mid", "bid_qty", "ask_qty", "verified"]]
             mid  bid_qty  ask_qty  verified
        0  100.50      1.0      1.0      True
        1  100.75      2.0      1.0      True
        """
        how = self._how(to, dtype_backend)
        question, limits, width = recorded_books.bars(basis_points, by), *_grid(start, stop, every)
        names = self._names(arguments.text("pair", pair))
        (pair,) = _chosen(names)
        return _frame(
            self._reader.book_grid(pair, question, limits, width, exact=decimals), how, names, _fixed((pair,))
        )

    @overload
    def book_slippage(
        self,
        pair: str,
        moment: Instant,
        side: OrderSide,
        qty: float | str | Decimal,
        *,
        to: Pandas = ...,
        **how: Unpack[Books],
    ) -> pd.DataFrame: ...
    @overload
    def book_slippage(
        self,
        pair: str,
        moment: Instant,
        side: OrderSide,
        qty: float | str | Decimal,
        *,
        to: Arrow,
        **how: Unpack[Books],
    ) -> pa.Table: ...
    @overload
    def book_slippage(
        self,
        pair: str,
        moment: Instant,
        side: OrderSide,
        qty: float | str | Decimal,
        *,
        to: Polars,
        **how: Unpack[Books],
    ) -> pl.DataFrame: ...
    def book_slippage(
        self,
        pair: str,
        moment: Instant,
        side: OrderSide,
        qty: float | str | Decimal,
        *,
        by: Clock = "received",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
    ) -> Frame:
        """Return what an order to "buy" or "sell" ``qty`` of the base currency would have been filled at.

        One row: pair, moment, side, qty, filled (how much of it the recorded levels hold), levels, best_price,
        worst_price, amount (in the quote currency), mean_price, slippage (the distance of mean_price from best_price,
        by best_price), verified (of all levels taken). Without fees, and as if nobody else traded. No row if nothing is
        known of the moment, or the side is empty.

        >>> order = "BTC/USD", "2025-11-10T12:00:01Z", "sell", 3
        >>> archive.book_slippage(*order)[["filled", "levels", "best_price", "worst_price", "verified"]]
           filled  levels  best_price  worst_price  verified
        0     3.0       2       100.5        100.0      True
        """
        how = self._how(to, dtype_backend)
        question = recorded_books.slippage(_moment_us(moment), side, arguments.bar_size("volume", qty), by)
        names = self._names(arguments.text("pair", pair))
        (pair,) = _chosen(names)
        return _frame(self._reader.book_at(pair, question, exact=decimals), how, names, _fixed((pair,)))

    @overload
    def events(
        self, start: Instant = ..., stop: Instant = ..., *, to: Pandas = ..., **how: Unpack[Events]
    ) -> pd.DataFrame: ...
    @overload
    def events(self, start: Instant = ..., stop: Instant = ..., *, to: Arrow, **how: Unpack[Events]) -> pa.Table: ...
    @overload
    def events(
        self, start: Instant = ..., stop: Instant = ..., *, to: Polars, **how: Unpack[Events]
    ) -> pl.DataFrame: ...
    def events(
        self,
        start: Instant = None,
        stop: Instant = None,
        *,
        kind: str | None = None,
        pair: str | None = None,
        to: Format = "pandas",
        dtype_backend: Backend = None,
        index: Index = None,
    ) -> Frame:
        """Return the events of the recorder and of the exchange in the range, oldest first.

        Columns: time, kind, pair (None for an event that concerns no single pair), detail (a JSON object as text).

        >>> archive.events("2025-11-10", kind="connected")[["kind", "detail"]]
                kind            detail
        0  connected  {"connection":1}
        """
        how = self._how(to, dtype_backend, index)
        limits = arguments.time_range(start, stop)
        given = {"kind": kind, "pair": pair}
        wanted = {column: arguments.text(column, value) for column, value in given.items() if value is not None}
        names = self._names(wanted["pair"]) if "pair" in wanted else {}
        wanted = {column: names.get(value, value) for column, value in wanted.items()}
        return _frame(Result(self._reader.events(wanted, limits), {}), how, names, {"kind": _KINDS})

    @overload
    def instruments(
        self, pairs: Pairs | None = ..., *, to: Pandas = ..., decimals: bool = ..., **how: Unpack[Typed]
    ) -> pd.DataFrame: ...
    @overload
    def instruments(
        self, pairs: Pairs | None = ..., *, to: Arrow, decimals: bool = ..., **how: Unpack[Typed]
    ) -> pa.Table: ...
    @overload
    def instruments(
        self, pairs: Pairs | None = ..., *, to: Polars, decimals: bool = ..., **how: Unpack[Typed]
    ) -> pl.DataFrame: ...
    def instruments(
        self,
        pairs: Pairs | None = None,
        *,
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
    ) -> Frame:
        """Return what the exchange listed for each pair, or for some, and when: one row for each change.

        Columns: pair, valid_from, valid_to (None for the current row), key, altname, wsname, base, quote,
        pair_decimals, lot_decimals, cost_decimals, tick_size, ordermin, costmin, status.

        >>> archive.instruments("BTC/USD")[["pair", "wsname", "pair_decimals", "status"]]
              pair   wsname  pair_decimals  status
        0  BTC/USD  BTC/USD              1  online
        """
        how = self._how(to, dtype_backend)
        names = {} if pairs is None else self._names(pairs)
        chosen = None if pairs is None else _chosen(names)
        found = self._reader.sql(_INSTRUMENTS, {"pairs": chosen and list(chosen)}, exact=decimals)
        return _frame(found, how, names, nullable=("cost_decimals",))

    @overload
    def coverage(self, *, to: Pandas = ..., **how: Unpack[Typed]) -> pd.DataFrame: ...
    @overload
    def coverage(self, *, to: Arrow, **how: Unpack[Typed]) -> pa.Table: ...
    @overload
    def coverage(self, *, to: Polars, **how: Unpack[Typed]) -> pl.DataFrame: ...
    def coverage(self, *, to: Format = "pandas", dtype_backend: Backend = None) -> Frame:
        """Return what is stored, and what proves it: pair, first_id, last_id, first_time, last_time, rows, proof.

        A row for each run of ids, whose ``proof`` is "ids"; for each unbroken time of trades without ids from history
        files, "imported"; and for their candles, "published". The last two have no ids.

        >>> archive.coverage()[["pair", "first_id", "last_id", "rows"]]
              pair  first_id  last_id  rows
        0  BTC/USD         1        3     3
        1  ETH/USD         1        1     1
        """
        how = self._how(to, dtype_backend)
        found = self._reader.sql("FROM coverage ORDER BY pair, proof, first_id, first_time", {}, exact=False)
        return _frame(found, how, nullable=("first_id", "last_id"))

    @overload
    def gaps(self, *, to: Pandas = ..., **how: Unpack[Typed]) -> pd.DataFrame: ...
    @overload
    def gaps(self, *, to: Arrow, **how: Unpack[Typed]) -> pa.Table: ...
    @overload
    def gaps(self, *, to: Polars, **how: Unpack[Typed]) -> pl.DataFrame: ...
    def gaps(self, *, to: Format = "pandas", dtype_backend: Backend = None) -> Frame:
        """Return the gaps between runs: pair, first_id, last_id, missing, after_time, before_time, state.

        >>> len(archive.gaps())
        0
        """
        return self.sql("FROM gaps ORDER BY pair, first_id", to=to, dtype_backend=dtype_backend)

    @overload
    def certificates(self, *, to: Pandas = ..., hashed: bool = ..., **how: Unpack[Typed]) -> pd.DataFrame: ...
    @overload
    def certificates(self, *, to: Arrow, hashed: bool = ..., **how: Unpack[Typed]) -> pa.Table: ...
    @overload
    def certificates(self, *, to: Polars, hashed: bool = ..., **how: Unpack[Typed]) -> pl.DataFrame: ...
    def certificates(self, *, hashed: bool = False, to: Format = "pandas", dtype_backend: Backend = None) -> Frame:
        """Return what is proven about each UTC day of each pair, according to the files themselves; the view's columns.

        ``hashed`` adds the column sha256, for which every row is read and formatted as text: for a few days use SQL.
        Only then is a day reported open if its content was replaced since it was certified. ``recorder verify`` does
        the same and trusts no file. If a file of events cannot be read, every day is "unknown", also in SQL; a warning
        and ``df.attrs["unknown"]`` give the reason.

        >>> archive.certificates()[["pair", "status", "rows", "missing"]].head(1)
              pair status  rows  missing
        0  BTC/USD   open     3        0
        """
        how = self._how(to, dtype_backend)
        found = self._reader.sql(_HASHED if hashed else _CERTIFICATES, {}, exact=False, hashed=hashed)
        return _frame(found, how, nullable=_LACKED)

    def scan(
        self,
        pair: Pairs,
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: OnGap = "raise",
        to: Lazily = "polars",
    ) -> Any:  # noqa: ANN401 -- a polars.LazyFrame or a pyarrow.dataset.Dataset
        """Return the trades of one pair or several as a polars LazyFrame, or as a pyarrow Dataset, without reading any.

        A LazyFrame lists the archive, and judges its gaps, whenever it is collected, whatever was added or merged
        meanwhile. Only the columns and files that it needs are read. A Dataset has the files as they are now; reading
        it raises FilesReplaced once one of them has been merged into another: scan again. Columns are those of
        :meth:`trades`; prices and quantities are exact, texts are no categories. A LazyFrame is in ascending id.

        >>> import polars as pl
        >>> archive.scan("BTC/USD").filter(pl.col("price") > 101).select("trade_id").collect().to_series().to_list()
        [2]
        >>> archive.scan("BTC/USD", to="dataset").count_rows()
        3
        """
        arguments.on_gap(on_gap)
        scan = self._reader.scan(_chosen(self._names(pair)), arguments.time_range(start, stop), on_gap)
        if arguments.scanned(to) == "polars":
            from recorder.query.polars_scan import lazy_frame  # noqa: PLC0415

            return lazy_frame(scan)
        from recorder.query.dataset_scan import dataset  # noqa: PLC0415 -- imports what only few need

        return dataset(scan)

    def follow(self, pair: Pairs, after: After = None) -> Follower:
        """Return an iterator of the trades of one pair or several that waits for more: ``for trade in …``.

        Each trade comes once it is durable, also of a frozen connection or one that is not ``live``, and each pair in
        ascending id without omission: while ids before it are missing and still to be fetched, a trade waits. Ids that
        need not be waited for are named by the next trade of the pair (:class:`recorder.query.follow.LiveTrade`).
        Begins behind the newest trade; or behind the id ``after``, or the id of each pair in a dict, and then first
        returns what is stored since. ``follower.after`` is such a dict, to be kept by whoever wants to resume.
        ``async for`` works as well, and ``close()`` ends the iteration.

        >>> with archive.follow("BTC/USD", after=1) as trades:
        ...     trade = next(trades)
        >>> trade.trade_id, trade.price, trade.side
        (2, Decimal('102.000000000000'), 'buy')
        """
        if is_address(self._reader.data):
            raise UsageError(
                f"{self._reader.data} is a copy in object storage, beside which no recorder journals: follow() needs "
                "the folder of a recorder"
            )
        from recorder.query.follow import Follower  # noqa: PLC0415 -- imports what only few need

        return Follower(self._reader.data, _chosen(self._names(pair)), after)

    def refresh(self) -> None:
        """Move a frozen connection to a new snapshot. Other connections do so at each call.

        >>> archive.refresh()
        """
        self._check()
        self._reader.refresh()

    def cursor(self) -> Archive:
        """Return the same view of the same archive for the calling thread; of a frozen one, the same snapshot.

        >>> with archive.cursor() as mine:
        ...     mine.pairs()
        ['BTC/USD', 'ETH/USD']
        """
        return Archive(self._reader.beside())

    def interrupt(self) -> None:
        """End the query that another thread is running here, if any: there it raises KeyboardInterrupt.

        The one method that any thread may call.

        >>> archive.interrupt()
        """
        self._reader.interrupt()

    def close(self) -> None:
        """Release all resources. Closing twice is allowed."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        try:
            line = self._reader.summary().line()
        except RecorderError as error:  # a debugger shows objects at any time, also closed ones
            line = str(error)
        return f"<{self._title()}: {line}>"

    def _repr_html_(self) -> str | None:
        try:
            return self._reader.summary().table(self._title())
        except RecorderError:  # then the notebook shows the other form, which says why
            return None

    def _title(self) -> str:
        modes = [name for name in ("live", "frozen") if getattr(self._reader, name)]
        return " ".join(["Archive", str(self._reader.data), *modes])

    def _names(self, pair: Pairs) -> dict[str, str]:
        """Return the pair that each of the given names means."""
        self._reader.check()
        return self._reader.resolve(arguments.pairs(pair))

    def _how(self, to: Format, dtype_backend: Backend, index: Index = None) -> _How:
        self._check()
        arguments.backend(dtype_backend)
        return _How(arguments.output(to), dtype_backend, arguments.index(index, to))

    def _check(self) -> None:
        self._reader.check()


@dataclass(frozen=True, slots=True)
class _How:
    """The form of a frame."""

    to: str
    backend: Backend
    index: Index


def _chosen(names: _Names) -> tuple[str, ...]:
    """Return the pairs that were named, each once."""
    return tuple(dict.fromkeys(names.values()))


def _fixed(pairs: Sequence[str], columns: Sequence[str] = ()) -> dict[str, Sequence[str]]:
    """Return the categories of these columns and of the pair, which do not depend on the rows."""
    return {"pair": pairs, **{column: WORDS[column] for column in columns}}


def _fixed_book(pairs: Sequence[str], rows: pa.Table | None = None) -> dict[str, Sequence[str]]:
    """Return the categories of the columns of books; of ``rows``, those of columns that they have."""
    found = {"pair": pairs, "side": recorded_books.SIDES, "kind": recorded_books.KINDS}
    return {name: words for name, words in found.items() if rows is None or name in rows.column_names}


def _moment_us(moment: Instant) -> int:
    found = arguments.moment("moment", moment)
    if found is None:
        raise UsageError("a book is of a moment: give one, such as '2025-11-10T12:00:00Z'")
    return found


def _grid(start: Instant, stop: Instant, every: Width) -> tuple[Range, int]:
    return arguments.time_range(start, stop), arguments.width_us(every)


def _frames(
    answers: Sequence[Result],
    how: _How,
    names: _Names,
    on_gap: AnyGap,
    categories: Mapping[str, Sequence[str]],
    *,
    nullable: Sequence[str] = (),
) -> Frame:
    """Return the only result as a frame, or a list of frames if they were split; emit warnings at the call site."""
    _warn(answers[0].warning if answers else None, names, stacklevel=3)
    made = [_made(answer, how, names, categories, nullable) for answer in answers]
    return made if on_gap == "split" else made[0]


def _frame(
    answer: Result,
    how: _How,
    names: _Names | None = None,
    categories: Mapping[str, Sequence[str]] | None = None,
    nullable: Sequence[str] = (),
) -> Frame:
    """Return the result as a frame, and emit warnings at the call site of the caller."""
    _warn(answer.warning, names or {}, stacklevel=3)
    return _made(answer, how, names or {}, categories, nullable)


def _made(
    answer: Result,
    how: _How,
    names: _Names,
    categories: Mapping[str, Sequence[str]] | None,
    nullable: Sequence[str] = (),
) -> Frame:
    aliases = {name: pair for name, pair in names.items() if name != pair}
    # Of SQL there are no attrs, and the metadata of its table stays.
    attrs = {**answer.attrs, **({"aliases": aliases} if aliases else {})} or None
    return frame(
        answer.let_go(),
        how.to,
        categories=categories,
        nullable=nullable,
        backend=how.backend,
        attrs=attrs,
        index=how.index,
    )


def _warn(warning: str | None, names: _Names, *, stacklevel: int) -> None:
    """Emit the warning of a result, and one about names that were taken for pairs."""
    if (sentence := pair_aliases.sentence(names)) is not None:
        warnings.warn(sentence, AliasWarning, stacklevel=stacklevel + 1)
    if warning is not None:
        warnings.warn(warning, stacklevel=stacklevel + 1)
