"""Queries of an archive, answered as Arrow tables, each from one snapshot.

Contains when a snapshot is taken, the retry of a query when a compaction removed a file meanwhile, and the check that
no rows are returned across a gap unless the caller allows it. Does not know frame formats, which are in
:mod:`recorder.query.dataframes`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import duckdb
import pyarrow as pa

from recorder.archive.datasets import (
    BOOK,
    BOOK_EVENTS,
    BOOK_SESSIONS,
    BULK_OHLC,
    BULK_TRADES,
    EVENTS,
    INSTRUMENTS,
    MARKET_EVENTS,
    OHLC,
    QUOTE_SESSIONS,
    QUOTES,
    TRADES,
    Branch,
    Dataset,
)
from recorder.archive.digest_text import digest_text
from recorder.archive.layout import Layout
from recorder.archive.schema import TRADES as TRADE_COLUMNS
from recorder.core.evidence import Promise
from recorder.core.plausibility import EARLIEST_US
from recorder.core.trade_ids import Gap, Run, Span
from recorder.disk import undisturbed
from recorder.errors import GapError, StorageError, UsageError
from recorder.lazy_imports import pc
from recorder.object_store import at_once
from recorder.query import (
    arguments,
    bulk_candles,
    catalogue,
    exchange_candles,
    gap_rows,
    id_order,
    id_runs,
    latest_trades,
    pair_aliases,
    provenance,
    recorded_books,
    recorded_quotes,
    statement_pairs,
)
from recorder.query.arguments import AnyGap, OnGap, Range
from recorder.query.bars import CANDLE, IDS, BarQuery
from recorder.query.bulk_candles import Uncovered
from recorder.query.catalogue import NamedQuery, Needs
from recorder.query.dataframes import WORDS, labelled, owned, together, with_words
from recorder.query.engine import Engine
from recorder.query.exchange_candles import CandleQuery
from recorder.query.explain_error import explain_error
from recorder.query.file_digests import Digests
from recorder.query.latest_trades import LatestTrades
from recorder.query.matrix import side_by_side
from recorder.query.provenance import Provenance
from recorder.query.recorded_books import HeldMessages, KnownBook
from recorder.query.recorded_quotes import KnownQuotes, QuoteProvenance, Window
from recorder.query.refused_files import FAULTS
from recorder.query.scan import Scan
from recorder.query.snapshot import Snapshot, Snapshots
from recorder.query.summary import Summary

BATCH_ROWS: Final = 500_000
"""Rows of a batch: some 100 MB as a pandas frame, and four row groups of a file."""

PIECE_ROWS: Final = 200_000
"""Rows that DuckDB returns at once: they take memory both before and after conversion."""

_TRADES: Final = """
    SELECT {columns}
    FROM trades_in($files, getvariable('recorder_cut_files'))
    WHERE ($whole OR list_contains($pairs, pair))
        AND ($start IS NULL OR time >= make_timestamptz($start))
        AND ($stop IS NULL OR time < make_timestamptz($stop))
"""
_COLUMNS: Final = tuple(TRADE_COLUMNS.names)
_CANDLES: Final = """
    SELECT * EXCLUDE (pair, timeframe)
    FROM candle_rows($pair, $timeframe, make_timestamptz($start), make_timestamptz($stop))
    ORDER BY time
"""
_CANDLES_OF: Final = (
    "FROM candles_of($pairs, $timeframe, make_timestamptz($start), make_timestamptz($stop), whole := $whole)"
)
_CLOSES: Final = """
    WITH
    gaps_so_far AS (
        SELECT
            h.pair,
            h.after_time,
            max(h.before_time) OVER (PARTITION BY h.pair ORDER BY h.after_time, h.before_time) AS before_time
        FROM holes_in(footer_files()) AS h
    )
    SELECT
        c.pair,
        c.time,
        c.first_id,
        c.last_id,
        CASE WHEN $touched OR NOT coalesce(g.before_time >= c.time, false) THEN c.close END AS close
    FROM closes_of($pairs, to_microseconds($width), make_timestamptz($start), make_timestamptz($stop)) AS c
    ASOF LEFT JOIN gaps_so_far AS g
        ON c.pair = g.pair AND c.time_end > g.after_time
"""
_ENDS: Final = """
    SELECT pair, min(trade_id), max(trade_id)
    FROM trades
    WHERE list_contains($pairs, pair) AND ($start IS NULL OR time >= make_timestamptz($start))
        AND ($stop IS NULL OR time < make_timestamptz($stop))
    GROUP BY pair
"""
_WINDOW: Final = """
    SELECT * EXCLUDE (pair)
    FROM pair_trades($pair, make_timestamptz($start), make_timestamptz($stop))
    WHERE trade_id BETWEEN $first AND $last
    ORDER BY trade_id
"""
_ABSENT: Final = "FROM absent_spans() WHERE list_contains($pairs, pair) AND state <> 'unreadable'"

_PROMISES: Final = (
    "SELECT pair, epoch_us(time) AS time_us, after_id FROM anchored_promises(footer_files()) "
    "WHERE list_contains($pairs, pair)"
)

_BEGINNINGS: Final = (
    "SELECT pair, epoch_us(time) AS time_us FROM beginnings(footer_files()) "
    "WHERE list_contains($pairs, pair) AND time > make_timestamptz($start)"
)

_Answer = TypeVar("_Answer")
_Missing = dict[str, list[Gap]]
_Ends = dict[str, tuple[int, int]]
_HAS_CANDLES: Final = "SELECT 1 FROM stored_ohlc() WHERE pair = $pair LIMIT 1"
_NO_TRADES: Final = re.compile("the archive holds no trades of '(.+?)'")
_EVENTS: Final = (EVENTS, MARKET_EVENTS, BOOK_EVENTS)
_MAY_MISS: Final = "trades may be missing in it: see missing_trades, and `recorder gaps`"
_NO_BARS: Final = (
    "no bar of this width is complete, so nothing can be estimated: choose a shorter one, or a longer range"
)
_ALWAYS: Final = Range(None, None)
_NONE: Final = (0, 0)
"""Ends between which there is no id: ids begin with 1."""


class _UnknownPair(Exception):
    """A statement uses a pair that its text does not name."""


@dataclass(frozen=True, slots=True)
class TradeQuery:
    """The requested trades: their pairs and range, and what to do if some are missing.

    ``exact`` requests unrounded decimals, ``hashed`` the digests of the rows. ``checked``: the files are compared with
    their own digests first, as they are whenever rows are hashed.
    """

    pairs: tuple[str, ...]
    limits: Range
    on_gap: AnyGap
    exact: bool
    hashed: bool = False
    checked: bool = False

    def params(self) -> dict[str, object]:
        """Return the parameters for the SQL above."""
        return {"pairs": list(self.pairs), "start": self.limits.start_us, "stop": self.limits.stop_us}

    def params_of(self, pair: str) -> dict[str, object]:
        """Return the parameters for SQL about one pair."""
        return {"pair": pair, "start": self.limits.start_us, "stop": self.limits.stop_us}


@dataclass(slots=True)
class Result:
    """Rows, the attrs of their frame, and a warning for the caller."""

    rows: pa.Table
    attrs: dict[str, Any]
    warning: str | None = None

    def let_go(self) -> pa.Table:
        """Return the rows and release them here: each column can then be freed once it is converted."""
        rows, self.rows = self.rows, None
        return rows


@dataclass(frozen=True, slots=True)
class _Lacking:
    """The parts of a range that are not stored: ids ``missing`` from pairs, and when each late pair ``begins``."""

    missing: _Missing
    begins: Mapping[str, int]

    def count(self, pair: str) -> int:
        """Return how many ids of a pair are missing."""
        return id_runs.count(self.missing.get(pair, ()))

    def begun(self, *pairs: str) -> dict[str, str]:
        """Return when those of these pairs begin that begin later than the range."""
        return {pair: id_runs.text(self.begins[pair]) for pair in pairs if pair in self.begins}


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of an answer that become a frame of their own: those of ``pairs``, with the ids at their ends."""

    rows: pa.Table
    pairs: tuple[str, ...]
    ends: _Ends
    unbroken: bool = False


@dataclass(slots=True)
class _PinnedSnapshot:
    """A snapshot that outlives its files, in those that hold its rows now; None where every query takes its own."""

    moment: Snapshot | None


class Reader:
    """Reads the archive at ``data``; for the thread that made it."""

    def __init__(
        self,
        data: Path,
        *,
        live: bool,
        frozen: bool,
        check: bool,
        bounds: Mapping[str, str],
        kept: Snapshot | None = None,
        confined: bool = False,
    ) -> None:
        self.data = data
        self.confined = confined
        self.bounds = bounds
        self.live = live
        self.frozen = frozen
        self.checks = check
        self._layout = Layout(data)
        self._digests = Digests()
        self._latest = LatestTrades()
        self._kept = _PinnedSnapshot(kept)
        self._thread = threading.get_ident()
        self._process = os.getpid()
        self._moments = Snapshots(data, live=live)
        self._engine = Engine(data, bounds, confined=confined)
        self._closed = False

    @property
    def kept(self) -> Snapshot | None:
        """The retained snapshot, if there is one."""
        return self._kept.moment

    def beside(self) -> Reader:
        """Return another reader of the same archive for the calling thread; of the same snapshot, if one is kept."""
        return Reader(
            self.data,
            live=self.live,
            frozen=self.frozen,
            check=self.checks,
            bounds=self.bounds,
            kept=self.kept,
            confined=self.confined,
        )

    def check(self) -> None:
        """Raise UsageError if this thread must not query."""
        if self._closed:
            raise UsageError("this archive is closed; connect() opens it again")
        if os.getpid() != self._process:
            raise UsageError(
                "this archive belongs to the process that this one was forked from, and DuckDB does not survive that; "
                "connect() in this process, or start it by 'spawn'"
            )
        if threading.get_ident() != self._thread:
            raise UsageError(
                "this archive belongs to another thread, and DuckDB would mix up their rows; "
                "call its cursor() in this thread and use that"
            )

    def close(self) -> None:
        """Release all resources."""
        self._engine.close()
        self._closed = True

    def interrupt(self) -> None:
        """End the running query: the only method that another thread may call."""
        self._engine.interrupt()

    def refresh(self) -> None:
        """Retain a new snapshot from now on, if one is retained."""
        if self.frozen:
            self._kept.moment = self._whole(self._moments.pin)

    def sql(self, text: str, params: Mapping[str, object], *, exact: bool, hashed: bool = False) -> Result:
        """Return the rows of one SQL statement, which may request digests of rows.

        If events cannot be read, certificates are unknown and the result has a warning. Raise UsageError unless the
        statement only reads.
        """
        self.check_statement(text)
        arguments.zoned(params)

        wanted = catalogue.needs(text)

        def answer(moment: Snapshot, *, of_named: bool = False) -> Result:
            if self.checks or hashed:
                moment = self._undamaged(moment, _touched(moment, wanted.tables, of_named=of_named))
            if wanted.timed:
                self._engine.know_times(moment)
            try:
                return Result(self._statement(moment, text, params, exact=exact, of_named=of_named), {})
            except FAULTS as error:
                if not wanted.certifies:
                    raise
                # Without events it succeeds if they were at fault, and fails again if something else was.
                self._engine.pin(lacking := moment.without_events())
                rows = self._statement(lacking, text, params, exact=exact, of_named=of_named)
                return Result(rows, {"unknown": str(error)}, f"certificates are unknown: {error}")

        if wanted.plainly and self.kept is None:
            only = statement_pairs.pairs(self._engine.tree(text), params)
            if only:
                of_tables = _confined(only, wanted)
                return self._ask(lambda: self._moments.take(*only, tables=wanted.tables, of_tables=of_tables), answer)
        if not self.live and not wanted.every and self.kept is None:
            named = self._named(text, params) if wanted.named else ()
            if named or not wanted.named:
                # A pair may still be unknown: its name may be computed by the statement.
                with contextlib.suppress(_UnknownPair):
                    few = partial(self._few, named, wanted)
                    return self._ask(few, partial(answer, of_named=True))
        return self._ask(lambda: self._moments.take(tables=wanted.tables), answer)

    def check_statement(self, text: str) -> None:
        """Raise UsageError unless a text is one SQL statement that only reads."""
        self._engine.check(text)

    def _undamaged(self, moment: Snapshot, paths: Iterable[str]) -> Snapshot:
        """Return the snapshot, now pinned, without those of these files that are not what was written."""
        damaged = self._digests.damaged(path for path in paths if path not in moment.refused)
        if damaged:
            moment = moment.without(damaged)
            self._engine.pin(moment)
        return moment

    def _few(self, named: Collection[str], wanted: Needs) -> Snapshot:
        """Take a snapshot of these pairs, which includes their footers; with no pairs, it needs none."""
        if not named:
            return self._moments.listed((), wanted.tables)
        return self._moments.take(*named, tables=wanted.tables, of_tables=_confined(named, wanted))

    def _named(self, text: str, params: Mapping[str, object]) -> list[str]:
        """Return the pairs whose names appear in a statement or its parameters."""
        written = "\n".join((text, *map(str, params.values())))
        return [pair for pair in self._whole(self._moments.pairs) if pair in written]

    def _statement(
        self, moment: Snapshot, text: str, params: Mapping[str, object], *, exact: bool, of_named: bool = False
    ) -> pa.Table:
        """Return the rows of a statement. A pair without trades is accepted if it has candles, or other history.

        If the snapshot is ``of_named`` pairs, any other pair raises _UnknownPair.
        """
        try:
            return self._engine.fetch(text, params, exact=exact)
        except UsageError as error:
            if (named := _NO_TRADES.search(str(error))) is None:
                raise
            pair = named[1]
            _check_pair(moment, pair)
            if of_named and pair in self.pairs():
                raise _UnknownPair from error
            if pair not in self._imported() and not self._engine.fetch(_HAS_CANDLES, {"pair": pair}).num_rows:
                arguments.pair(pair, self.pairs())  # raises, and names similar pairs
            self._engine.know(pair)
            return self._engine.fetch(text, params, exact=exact)

    def register(self, name: str, rows: object) -> None:
        """Make the caller's rows available to SQL under a name. Raise UsageError for a name that is taken."""
        self._engine.register(name, rows)

    def pairs(self) -> list[str]:
        """Return the pairs that have trades, in no order."""
        return list(self.kept.runs) if self.kept else self._whole(self._moments.pairs)

    def resolve(self, names: Iterable[str]) -> dict[str, str]:
        """Return the pair that each name means, by the archive's listing. Raise UsageError if it may mean several."""
        asked = list(names)
        archived = self.kept.runs if self.kept else self._whole(self._moments.archived)
        held = archived if set(asked).issubset(archived) else [*self.pairs(), *self._imported()]
        return pair_aliases.resolve(asked, held, self._layout)

    def trades(self, question: TradeQuery) -> list[Result]:
        """Return trades. Raise GapError, UsageError."""

        def rows(moment: Snapshot, lacking: _Lacking) -> list[_Part]:
            return self._parts(question, self._trades(question, moment), lacking)

        return self._rested(question, rows)

    def _parts(self, question: TradeQuery, rows: pa.Table, lacking: _Lacking) -> list[_Part]:
        """Return the rows as one part; as one for each unbroken run of ids if they are to be split."""
        if question.on_gap != "split":
            return [_Part(rows, question.pairs, _ends_of(rows, question.pairs))]
        parts = []
        for pair, begin, end in gap_rows.unbroken(rows, question.pairs, lacking.missing):
            piece = rows.slice(begin, end - begin)
            parts.append(_Part(piece, (pair,), _ends_of(piece, (pair,)), unbroken=True))
        return parts

    def _trades(self, question: TradeQuery, moment: Snapshot) -> pa.Table:
        """Return trades by pair and id, read in the order of the files: only what turns out unsorted is sorted."""
        files = [path for pair in question.pairs for path in id_order.by_id(moment.footers.get(pair, {}))]
        params = question.params() | {"files": [*files, moment.files[-1]], "whole": moment.is_whole}
        keys = ["pair", "trade_id"] if len(question.pairs) > 1 else ["trade_id"]
        text = _TRADES.format(columns=", ".join(dict.fromkeys([*keys, *_COLUMNS])))
        pieces = self._engine.pieces(text, params, PIECE_ROWS, exact=question.exact)
        words = {"pair": question.pairs, **WORDS}
        parts = [owned(with_words(piece, words, narrow=True)) for piece in pieces]
        found = id_order.sorted_by(keys, together(parts, words))
        return found if len(question.pairs) > 1 else labelled(found, pair=question.pairs[0])

    def candles(self, question: TradeQuery, timeframe: str) -> list[Result]:
        """Return candles built from trades. Raise GapError, UsageError."""
        width = BarQuery.of_time(arguments.timeframe_us(timeframe), filled=True)
        marked = question.on_gap in {"null", "split"}

        def rows(moment: Snapshot, lacking: _Lacking) -> list[_Part]:
            if marked:
                found = gap_rows.without_silent(self._bars(question, width))
            else:
                found = self._candles(question, timeframe, moment)
            return [
                replace(part, rows=_as_candles(part.rows, timeframe)) for part in self._parts(question, found, lacking)
            ]

        return self._rested(question, rows)

    def bulk_candles(self, question: TradeQuery, timeframe: str) -> list[Result]:
        """Return candles with history files counted in, each from one source. Raise GapError, UsageError."""
        if question.hashed:
            raise UsageError(
                "hashed=True gives the SHA-256 of the trades that bars were built from, and candles of history files "
                "have none: leave out hashed, or bulk"
            )

        def take() -> Snapshot:
            tables = (BULK_TRADES, BULK_OHLC, INSTRUMENTS)
            return self._moments.take(*question.pairs, tables=tables, of_tables=question.pairs)

        def rows(moment: Snapshot) -> tuple[pa.Table, dict[str, list[Uncovered]]]:
            for pair in question.pairs:
                _check_pair(moment, pair)
                if not moment.runs.get(pair) and pair not in self._imported():
                    arguments.pair(pair, [*self.pairs(), *self._imported()], of="trades and candles")
                self._engine.know(pair)
            self._compare(path for table in (BULK_TRADES, BULK_OHLC) for path in _listed(moment, table))
            self._compare(path for path in moment.files if path not in moment.refused)
            each = [self._bulk_bars(question, pair, timeframe) for pair in question.pairs]
            lacking = {pair: self._uncovered(question, pair, timeframe) for pair in question.pairs}
            return pa.concat_tables(each).unify_dictionaries(), lacking

        found, lacking = self._ask(take, rows)
        sentence = bulk_candles.sentence(lacking, timeframe) if question.on_gap in {"raise", "warn"} else None
        if sentence is not None and question.on_gap == "raise":
            raise GapError(sentence)
        if question.on_gap == "split":
            whole = bulk_candles.unbroken(found, question.pairs, lacking, timeframe)
            return [Result(part, bulk_candles.attrs(part, {pair: ()})) for pair, part in whole]
        return [Result(found, bulk_candles.attrs(found, lacking), sentence)]

    def _bulk_bars(self, question: TradeQuery, pair: str, timeframe: str) -> pa.Table:
        found = bulk_candles.rows(self._engine, pair, timeframe, question.limits, exact=question.exact)
        return bulk_candles.nulled(found) if question.on_gap == "null" else found

    def _uncovered(self, question: TradeQuery, pair: str, timeframe: str) -> list[Uncovered]:
        known = self._engine.fetch(bulk_candles.KNOWN, {"pair": pair, "timeframe": timeframe}).to_pylist()
        return bulk_candles.uncovered(known, timeframe, question.limits)

    def _imported(self) -> set[str]:
        """Return the pairs that have rows of history files without ids."""
        return {str(branch.value) for table in (BULK_TRADES, BULK_OHLC) for branch in self._layout.branches(table)}

    def bars(self, question: TradeQuery, wanted: BarQuery) -> list[Result]:
        """Return bars of any kind. Raise GapError, UsageError."""

        def rows(_: Snapshot, lacking: _Lacking) -> list[_Part]:
            # Where gaps are to be seen, bars that lie wholly in one are too.
            seen = replace(wanted, filled=True) if question.on_gap == "null" and wanted.kind == "time" else wanted
            found = self._bars(question, seen)
            return self._parts(question, found if seen == wanted else gap_rows.without_silent(found), lacking)

        return self._rested(question, rows)

    def _bars(self, question: TradeQuery, wanted: BarQuery) -> pa.Table:
        """Return the bars of each pair, without values where a gap touches one if that is requested."""
        each = [
            labelled(
                self._engine.fetch(wanted.text, question.params_of(pair) | wanted.params, exact=question.exact),
                pair=pair,
            )
            for pair in question.pairs
        ]
        found = pa.concat_tables(each).unify_dictionaries()
        return gap_rows.nulled(found) if question.on_gap == "null" else found

    def closes(self, question: TradeQuery, width_us: int) -> Result:
        """Return the close of each bar, a column for each pair, on one grid of times. Raise GapError, UsageError."""

        def rows(_: Snapshot, __: _Lacking) -> list[_Part]:
            touched = {"width": width_us, "touched": question.on_gap != "null"}
            found = self._engine.fetch(_CLOSES, question.params() | touched, exact=question.exact)
            matrix = side_by_side(found, "close", question.pairs, width_us)
            return [_Part(matrix, question.pairs, _ends_of(found, question.pairs))]

        (answer,) = self._rested(question, rows)
        return answer

    def named(self, question: TradeQuery, asked: NamedQuery, params: Mapping[str, object]) -> Result:
        """Return the rows of an analysis over the trades of these pairs, or of all if none is named, and this range.

        The warning says what may be missing in them. Raise UsageError.
        """
        wanted = catalogue.needs(asked.text)
        if wanted.certifies:  # what is proven rests on files, not on trades of a range
            for pair in question.pairs:
                arguments.pair(pair, self.pairs())
            return self.sql(asked.text, params, exact=question.exact)
        if BOOK in wanted.tables and not (wanted.every or wanted.named):  # there may be no trades of the pair
            return self._of_books(question, asked, params, wanted.tables)
        every = question if question.pairs else replace(question, pairs=tuple(sorted(self.pairs())))
        sentences: list[str] = []

        def rows(moment: Snapshot, lacking: _Lacking) -> list[_Part]:
            self._compare(path for table in wanted.tables for path in _listed(moment, table))
            found = self._statement(moment, asked.text, params, exact=question.exact)
            sentences[:] = _sentences_of(found, lacking.begins)
            ends = _ends_of(found, every.pairs) if IDS[0] in found.column_names else self._ends(every, moment)
            return [_Part(found, every.pairs, ends)]

        (answer,) = self._rested(every, rows, (*wanted.tables, INSTRUMENTS))
        answer.warning = "; ".join(sentences) or None
        return answer

    def latest(self, pairs: Sequence[str], *, exact: bool) -> Result:
        """Return the newest trade of each pair, which is that of the highest id. Raise UsageError."""

        def rows(moment: Snapshot) -> pa.Table:
            for pair in pairs:
                _check_pair(moment, pair)
                self._check_traded(moment, pair)
            self._compare(latest_trades.newest(found) for pair in pairs if (found := moment.footers.get(pair)))
            found = self._latest.of(moment, pairs)
            elsewhere = [(pair, moment.runs[pair][-1].span.last) for pair in pairs if pair not in found]
            more = latest_trades.select(self._engine, elsewhere)
            return latest_trades.table(pairs, found | more)

        found = self._ask(lambda: self._moments.take(*pairs), rows)
        rests = {
            pair: [Span(row_id, row_id)] for pair, row_id in zip(pairs, found["trade_id"].to_pylist(), strict=True)
        }
        attrs = Provenance(rests, dict.fromkeys(pairs, 0)).attrs()
        return Result(found if exact else self._engine.rounded(found), attrs)

    def summary(self) -> Summary:
        """Return what the archive holds, by its footers. Raise UsageError if this thread must not query."""
        self.check()

        def look(moment: Snapshot) -> Summary:
            everything = TradeQuery(tuple(sorted(moment.runs)), _ALWAYS, "ignore", exact=True)
            promises = self._promises(everything.pairs)
            missing = _missing(everything, moment, {}, promises)
            if missing:
                missing = _missing(everything, moment, self._absent(list(missing)), promises)
            return Summary.of(moment.runs, missing, moment.faults)

        return self._ask(self._moments.take, look)

    def pieces(self, question: TradeQuery, size: int) -> tuple[Iterator[Result], str | None]:
        """Return trades in tables of one pair and at most ``size`` rows, and a warning for the caller.

        The snapshot is taken at once; raise GapError, UsageError.
        """

        def begun(moment: Snapshot) -> tuple[Snapshot, _Lacking, _Ends]:
            return moment, self._checked(question, moment), self._ends(question, moment)

        moment, lacking, ends = self._ask(lambda: self._moments.take(*question.pairs), begun)
        pieces = self._pieces(question, moment, lacking, _windows(question, moment, ends, size))
        return pieces, self._warning(question, lacking)

    def ohlc(self, question: TradeQuery, timeframe: str, *, filled: bool) -> list[Result]:
        """Return candles of the exchange. Raise GapError, UsageError."""
        series = CandleQuery(question.pairs, timeframe, question.limits, question.exact)
        look = exchange_candles.filled if filled else exchange_candles.published

        def take() -> Snapshot:
            if filled:
                return self._moments.take(*series.pairs, tables=(OHLC, INSTRUMENTS))
            return self._moments.without_trades(OHLC)

        def rows(moment: Snapshot) -> pa.Table:
            folders = tuple(f"/{Branch(TRADES, pair).folder}/" for pair in series.pairs) if filled else ()
            for pair in series.pairs if filled else ():
                _check_pair(moment, pair)
            trades = (path for path in moment.files if any(folder in path for folder in folders))
            self._compare((*_listed(moment, OHLC), *trades))
            found = look(self._engine, series)
            for name in set(series.pairs).difference(pc.unique(found["pair"]).to_pylist()):
                self._check_series(name, timeframe)
            return found

        found = self._ask(take, rows)
        lost = exchange_candles.lost(found, series)
        warning = None
        if lost and question.on_gap in {"raise", "warn"}:
            warning = id_runs.candle_sentence(lost, timeframe, self.data, filled=filled)
            if question.on_gap == "raise":
                raise GapError(warning)
        if question.on_gap == "split":
            stretches = gap_rows.contiguous(found, series.pairs, series.width_us)
            return [Result(found.slice(at, end - at), {"missing": {pair: 0}}) for pair, at, end in stretches]
        if question.on_gap == "null":
            found = gap_rows.with_lost(found, series.pairs, lost, series.width_us)
        attrs = {"missing": {name: sum(one.count for one in lost.get(name, ())) for name in series.pairs}}
        return [Result(found, attrs, warning)]

    def scan(self, pairs: tuple[str, ...], limits: Range, on_gap: OnGap) -> Scan:
        """Return a scan of trades that lists the archive itself whenever it is read, from any thread."""
        return Scan(
            self.data,
            pairs,
            limits,
            on_gap,
            Snapshots(self.data, live=self.live),
            kept=self.kept,
            digests=Digests() if self.checks else None,
        )

    def quotes(self, question: TradeQuery) -> Result:
        """Return recorded quotes by pair, session and message. Raise GapError, UsageError."""

        def rows(moment: Snapshot) -> tuple[pa.Table, dict[str, KnownQuotes]]:
            found = self._known_quotes(question, moment)
            each = [self._quotes_of(question, pair) for pair in question.pairs]
            return pa.concat_tables(each).unify_dictionaries(), found

        table, found = self._ask(
            lambda: self._moments.without_trades(QUOTES, QUOTE_SESSIONS, pairs=question.pairs), rows
        )
        return Result(table, QuoteProvenance(found).attrs(), self._quote_warning(question, found))

    def quote_pieces(self, question: TradeQuery, size: int) -> tuple[Iterator[Result], str | None]:
        """Return quotes in tables of one pair and at most ``size`` rows, and a warning for the caller.

        The snapshot is taken at once; raise GapError, UsageError.
        """

        def begun(moment: Snapshot) -> tuple[Snapshot, dict[str, KnownQuotes]]:
            return moment, self._known_quotes(question, moment)

        take = partial(self._moments.pin_tables, QUOTES, QUOTE_SESSIONS, pairs=question.pairs)
        moment, found = self._ask(take, begun)
        kept = _PinnedSnapshot(moment)

        def pieces() -> Iterator[Result]:
            for pair, known in found.items():
                for window in recorded_quotes.windows(known.sessions, size):
                    self.check()
                    table = self._ask(self._moments.take, partial(self._quote_window, question, pair, window), kept)
                    if table.num_rows:
                        used = recorded_quotes.used(table)
                        of_piece = QuoteProvenance({pair: replace(known, sessions=used)})
                        yield Result(table, of_piece.attrs())

        return pieces(), self._quote_warning(question, found)

    def _known_quotes(self, question: TradeQuery, moment: Snapshot) -> dict[str, KnownQuotes]:
        """Return what is recorded of each pair. Raise GapError, UsageError, CorruptFile."""
        folders = tuple(f"/{Branch(QUOTES, pair).folder}/" for pair in question.pairs)
        paths = [path for path in _listed(moment, QUOTES) if any(folder in path for folder in folders)]
        self._compare((*paths, *_listed(moment, QUOTE_SESSIONS)), wanted=question.checked)
        found = {pair: recorded_quotes.known(self._engine, pair, question.limits) for pair in question.pairs}
        for pair, known in found.items():
            if not known.sessions:
                held = self._words(recorded_quotes.HELD_PAIRS)
                arguments.pair(pair, held, of="quotes")
        if question.on_gap == "raise" and (sentence := recorded_quotes.sentence(found)) is not None:
            raise GapError(sentence)
        return found

    def _quotes_of(self, question: TradeQuery, pair: str, window: Window | None = None) -> pa.Table:
        found = recorded_quotes.rows(self._engine, pair, question.limits, window, exact=question.exact)
        return labelled(found, pair=pair)

    def _quote_window(self, question: TradeQuery, pair: str, window: Window, _: Snapshot) -> pa.Table:
        return self._quotes_of(question, pair, window)

    @staticmethod
    def _quote_warning(question: TradeQuery, found: Mapping[str, KnownQuotes]) -> str | None:
        return recorded_quotes.sentence(found) if question.on_gap == "warn" else None

    def book(self, question: TradeQuery) -> Result:
        """Return the changes of recorded books by pair, session, message and position. Raise GapError, UsageError."""

        def rows(moment: Snapshot) -> tuple[pa.Table, dict[str, KnownBook]]:
            found = self._known_books(question, moment)
            each = [
                labelled(recorded_books.rows(self._engine, pair, question.limits, exact=question.exact), pair=pair)
                for pair in question.pairs
            ]
            return pa.concat_tables(each).unify_dictionaries(), found

        take = partial(self._moments.without_trades, BOOK, BOOK_SESSIONS, pairs=question.pairs)
        table, found = self._ask(take, rows)
        return Result(table, recorded_books.attrs(found), self._book_warning(question, found))

    def book_pieces(self, question: TradeQuery, size: int) -> tuple[Iterator[Result], str | None]:
        """Return the changes in tables of whole messages, of one pair and UTC day, and a warning for the caller.

        A table has at most ``size`` rows, or a single message. The snapshot is taken at once; raise GapError,
        UsageError.
        """

        def begun(moment: Snapshot) -> tuple[Snapshot, dict[str, KnownBook]]:
            return moment, self._known_books(question, moment)

        moment, found = self._ask(partial(self._pinned_books, question.pairs), begun)
        kept = _PinnedSnapshot(moment)

        def pieces() -> Iterator[Result]:
            for pair, known in found.items():
                attrs = recorded_books.attrs({pair: known})
                for held in known.held:
                    for piece in self._ask(
                        self._moments.take, partial(self._book_cut, question, pair, held, size), kept
                    ):
                        self.check()
                        table = self._ask(self._moments.take, partial(self._book_piece, question, pair, piece), kept)
                        yield Result(table, attrs)

        return pieces(), self._book_warning(question, found)

    def book_at(self, pair: str, question: recorded_books.Question, *, exact: bool) -> Result:
        """Return the answer to a question about the book of a pair at one moment. Raise UsageError."""

        def rows(moment: Snapshot) -> pa.Table:
            self._check_books((pair,), moment)
            return labelled(
                self._engine.fetch(question.text, {"pair": pair, **question.params}, exact=exact), pair=pair
            )

        take = partial(self._moments.without_trades, BOOK, BOOK_SESSIONS, pairs=(pair,))
        return Result(self._ask(take, rows), {})

    def book_grid(
        self, pair: str, question: recorded_books.Question, limits: Range, every_us: int, *, exact: bool
    ) -> Result:
        """Return the answer to a question about the book of a pair at regular moments. Raise UsageError.

        They are queried by the hour, from one snapshot, so that what is read for them fits in memory.
        """
        spans = list(recorded_books.spans(limits, every_us)) or [Range(limits.start_us, limits.start_us)]

        def rows(span: Range, _: Snapshot) -> pa.Table:
            params = {"pair": pair, "start": span.start_us, "stop": span.stop_us, "every": every_us, **question.params}
            return self._engine.fetch(question.text, params, exact=exact)

        def begun(moment: Snapshot) -> Snapshot:
            self._check_books((pair,), moment)
            return moment

        kept = _PinnedSnapshot(self._ask(partial(self._pinned_books, (pair,)), begun))
        tables = [self._ask(self._moments.take, partial(rows, span), kept) for span in spans]
        return Result(labelled(pa.concat_tables(tables), pair=pair), {})

    def _book_cut(
        self, question: TradeQuery, pair: str, held: HeldMessages, size: int, _: Snapshot
    ) -> list[recorded_books.Piece]:
        return recorded_books.pieces(self._engine, pair, question.limits, held, size)

    def _book_piece(self, question: TradeQuery, pair: str, piece: recorded_books.Piece, _: Snapshot) -> pa.Table:
        found = recorded_books.piece_rows(self._engine, pair, question.limits, piece, exact=question.exact)
        return labelled(found, pair=pair)

    def _of_books(
        self, question: TradeQuery, asked: NamedQuery, params: Mapping[str, object], tables: Collection[Dataset]
    ) -> Result:
        """Return the rows of an analysis of recorded books. Raise UsageError."""

        def rows(moment: Snapshot) -> pa.Table:
            self._check_books(question.pairs, moment)
            self._compare(path for table in tables for path in _listed(moment, table))
            return self._engine.fetch(asked.text, params, exact=question.exact)

        return Result(self._ask(partial(self._moments.without_trades, *tables, pairs=question.pairs), rows), {})

    def _pinned_books(self, pairs: Sequence[str]) -> Snapshot:
        return self._moments.pin_tables(BOOK, BOOK_SESSIONS, pairs=pairs)

    def _check_books(
        self, pairs: Sequence[str], moment: Snapshot, limits: Range = _ALWAYS, *, wanted: bool = False
    ) -> None:
        """Raise UsageError, which names similar pairs, if no book of a pair is stored; CorruptFile for one in range."""
        folders = tuple(f"/{Branch(BOOK, pair).folder}/" for pair in pairs)
        paths = [path for path in _listed(moment, BOOK) if any(folder in path for folder in folders)]
        read = (path for path in paths if recorded_books.may_have(path, limits))
        self._compare((*read, *_listed(moment, BOOK_SESSIONS)), wanted=wanted)
        for pair in pairs:
            if not any(f"/{Branch(BOOK, pair).folder}/" in path for path in paths):
                arguments.pair(pair, self._words(recorded_books.HELD_PAIRS), of="book")

    def _known_books(self, question: TradeQuery, moment: Snapshot) -> dict[str, KnownBook]:
        """Return what is recorded of each pair. Raise GapError, UsageError, CorruptFile."""
        self._check_books(question.pairs, moment, question.limits, wanted=question.checked)
        found = {pair: recorded_books.known(self._engine, pair, question.limits) for pair in question.pairs}
        if question.on_gap == "raise" and (sentence := recorded_books.sentence(found)) is not None:
            raise GapError(sentence)
        return found

    @staticmethod
    def _book_warning(question: TradeQuery, found: Mapping[str, KnownBook]) -> str | None:
        return recorded_books.sentence(found) if question.on_gap == "warn" else None

    def events(self, wanted: Mapping[str, str], limits: Range) -> pa.Table:
        """Return events of this kind or pair. Raise UsageError for an impossible one."""

        def noted(moment: Snapshot) -> pa.Table:
            for table in _EVENTS:
                self._compare(_listed(moment, table))
            found = self._select("events", {name: (value,) for name, value in wanted.items()}, limits, exact=True)
            if "kind" in wanted and not found.num_rows:
                arguments.kind(wanted["kind"], self._words("SELECT DISTINCT kind FROM events"))
            if "pair" in wanted and not found.num_rows:
                known = "SELECT pair FROM events WHERE pair IS NOT NULL UNION SELECT pair FROM instruments"
                arguments.pair(wanted["pair"], self._words(known), of="events")
            return found

        return self._ask(lambda: self._moments.without_trades(*_EVENTS, INSTRUMENTS), noted)

    def _rested(
        self,
        question: TradeQuery,
        rows: Callable[[Snapshot, _Lacking], list[_Part]],
        tables: Collection[Dataset] = (INSTRUMENTS,),
    ) -> list[Result]:
        """Answer from one snapshot, so that the reported gaps, the rows and their provenance agree."""

        def rested(moment: Snapshot) -> tuple[list[tuple[_Part, Provenance]], _Lacking]:
            lacking = self._checked(question, moment)
            parts = rows(moment, lacking)
            return [(part, self._provenance(question, moment, part, lacking)) for part in parts], lacking

        parts, lacking = self._ask(lambda: self._moments.take(*question.pairs, tables=tables), rested)
        warning = self._warning(question, lacking)
        return [Result(part.rows, rests.attrs(), warning) for part, rests in parts]

    def _provenance(self, question: TradeQuery, moment: Snapshot, part: _Part, lacking: _Lacking) -> Provenance:
        coverage = {pair: provenance.between(moment.runs[pair], *part.ends.get(pair, _NONE)) for pair in part.pairs}
        hashes = self._hashes(question, coverage) if question.hashed else None
        counts = {pair: 0 if part.unbroken else lacking.count(pair) for pair in part.pairs}
        return Provenance(coverage, counts, lacking.begun(*part.pairs), hashes)

    def _checked(self, question: TradeQuery, moment: Snapshot) -> _Lacking:
        """Return the parts of the range that are not stored. Raise GapError, UsageError, CorruptFile."""
        for pair in question.pairs:
            _check_pair(moment, pair)
        folders = tuple(f"/{Branch(TRADES, pair).folder}/" for pair in question.pairs)
        files = (path for path in (*moment.files, *moment.cut_files) if any(folder in path for folder in folders))
        self._compare(files, wanted=question.hashed or question.checked)
        for pair in question.pairs:
            self._check_traded(moment, pair)
        promises = self._promises([pair for pair in question.pairs if _begins_in(question, moment.runs[pair])])
        missing = _missing(question, moment, {}, promises)
        if missing:
            missing = _missing(question, moment, self._absent(list(missing)), promises)
        lacking = _Lacking(missing, self._beginnings(question, moment))
        if question.on_gap == "raise" and (sentence := self._sentence(question, lacking)) is not None:
            raise GapError(sentence)
        return lacking

    def _check_traded(self, moment: Snapshot, pair: str) -> None:
        """Raise UsageError, which names similar pairs, if there are no trades of a pair."""
        if not moment.runs.get(pair):
            arguments.pair(pair, list(moment.runs) if self.kept else self._moments.pairs())

    def _compare(self, paths: Iterable[str], *, wanted: bool = False) -> None:
        """Compare files with their digests, if that is always done, or ``wanted``. Raise CorruptFile."""
        if self.checks or wanted:
            self._digests.check(paths)

    def _absent(self, pairs: list[str]) -> dict[str, list[Span]]:
        found: dict[str, list[Span]] = {}
        for row in self._engine.fetch(_ABSENT, {"pairs": pairs}).to_pylist():
            found.setdefault(row["pair"], []).append(Span(row["first_id"], row["last_id"]))
        return found

    def _promises(self, pairs: Sequence[str]) -> dict[str, Promise]:
        if not pairs:
            return {}
        found = self._engine.fetch(_PROMISES, {"pairs": list(pairs)}).to_pylist()
        return {row["pair"]: Promise(row["time_us"], row["after_id"]) for row in found}

    def _beginnings(self, question: TradeQuery, moment: Snapshot) -> dict[str, int]:
        """Return when each pair that begins later than the range does so, in µs since 1970 UTC."""
        start_us = question.limits.start_us
        if start_us is None:
            return {}
        late = [pair for pair in question.pairs if _may_begin_after(start_us, moment.runs[pair])]
        if not late:
            return {}
        found = self._engine.fetch(_BEGINNINGS, {"pairs": late, "start": start_us}).to_pylist()
        begins = {row["pair"]: row["time_us"] for row in found}
        return {pair: begins[pair] for pair in question.pairs if pair in begins}

    def _warning(self, question: TradeQuery, lacking: _Lacking) -> str | None:
        return self._sentence(question, lacking) if question.on_gap == "warn" else None

    def _sentence(self, question: TradeQuery, lacking: _Lacking) -> str | None:
        """Return a message about what is not stored, or None."""
        sentences = [id_runs.sentence(lacking.missing, self.data)] if lacking.missing else []
        if lacking.begins:
            sentences.append(id_runs.late_sentence(lacking.begins, question.limits.start_us or 0, self.data))
        return "; ".join(sentences) or None

    def _candles(self, question: TradeQuery, timeframe: str, moment: Snapshot) -> pa.Table:
        bar = {"timeframe": timeframe}
        if len(question.pairs) > 1:
            whole = {"whole": set(moment.pairs).issubset(question.pairs)}
            return self._engine.fetch(_CANDLES_OF, question.params() | bar | whole, exact=question.exact)
        (pair,) = question.pairs
        found = self._engine.fetch(_CANDLES, question.params_of(pair) | bar, exact=question.exact)
        return labelled(found, pair=pair, timeframe=timeframe)

    def _ends(self, question: TradeQuery, moment: Snapshot) -> _Ends:
        """Return the lowest and the highest id of each pair in the range."""
        if question.limits == Range(None, None):
            return {pair: (moment.runs[pair][0].span.first, moment.runs[pair][-1].span.last) for pair in question.pairs}
        found = self._engine.fetch(_ENDS, question.params())
        pairs, firsts, lasts = (column.to_pylist() for column in found.columns)
        return {pair: (first, last) for pair, first, last in zip(pairs, firsts, lasts, strict=True)}

    def _hashes(self, question: TradeQuery, coverage: Mapping[str, Sequence[Span]]) -> dict[str, str]:
        """Return the SHA-256 of the canonical rows of each pair, read in pieces."""
        hashes = {}
        for pair, runs in coverage.items():
            sha256 = hashlib.sha256()
            for window in provenance.windows(runs, BATCH_ROWS):
                for text in digest_text(self._window(question, pair, window, exact=True)):
                    sha256.update(text)
            hashes[pair] = sha256.hexdigest()
        return hashes

    def _window(self, question: TradeQuery, pair: str, window: Span, *, exact: bool) -> pa.Table:
        params = question.params_of(pair) | {"first": window.first, "last": window.last}
        return self._engine.fetch(_WINDOW, params, exact=exact)

    def _pieces(
        self, question: TradeQuery, moment: Snapshot, lacking: _Lacking, windows: Iterator[tuple[str, Span]]
    ) -> Iterator[Result]:
        """Read each window of one snapshot, and find the snapshot again in other files where necessary."""
        kept = _PinnedSnapshot(moment)
        for pair, window in windows:
            self.check()
            table = self._ask(self._moments.take, self._reading(question, pair, window), kept)
            if table.num_rows:
                coverage = {pair: provenance.between(moment.runs[pair], *_ends_in(table))}
                rests = Provenance(coverage, {pair: lacking.count(pair)}, lacking.begun(pair))
                yield Result(labelled(table, pair=pair), rests.attrs())

    def _reading(self, question: TradeQuery, pair: str, window: Span) -> Callable[[Snapshot], pa.Table]:
        return lambda _: self._window(question, pair, window, exact=question.exact)

    def _select(self, view: str, wanted: Mapping[str, tuple[str, ...]], limits: Range, *, exact: bool) -> pa.Table:
        """Return the rows of ``view`` whose columns have one of the wanted values and whose time is in the range."""
        values = {f"{column}_{n}": value for column, given in wanted.items() for n, value in enumerate(given)}
        clauses = [
            f"{column} IN ({', '.join(f'${column}_{n}' for n in range(len(wanted[column])))})" for column in wanted
        ]
        ends = {"start": limits.start_us, "stop": limits.stop_us}
        clauses += [
            f"time {'>=' if end == 'start' else '<'} make_timestamptz(${end})" for end in ends if ends[end] is not None
        ]
        where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
        params: dict[str, object] = {**values, **{end: moment for end, moment in ends.items() if moment is not None}}
        return self._engine.fetch(f"FROM {view}{where} ORDER BY time", params, exact=exact)

    def _check_series(self, pair: str, timeframe: str) -> None:
        """Raise UsageError, which names the existing series, if there are no candles of this one."""
        of_pair = "SELECT DISTINCT timeframe FROM stored_ohlc() WHERE pair = $pair"
        timeframes = self._words(of_pair, pair=pair)
        if not timeframes:
            arguments.pair(pair, self._words("SELECT DISTINCT pair FROM stored_ohlc()"), of="candles")
        arguments.check_recorded(pair, timeframe, timeframes)

    def _words(self, text: str, **params: str) -> list[str]:
        found: list[str] = self._engine.fetch(text, params).column(0).to_pylist()
        return found

    def _ask(
        self, take: Callable[[], Snapshot], answer: Callable[[Snapshot], _Answer], kept: _PinnedSnapshot | None = None
    ) -> _Answer:
        """Return the result of ``answer`` for a pinned snapshot: the ``kept`` one, or one taken by ``take``.

        If a compaction removed a file meanwhile, the query is retried, on the same snapshot if it is kept.
        """
        held = kept or self._kept

        def attempt() -> _Answer:
            try:
                moment = held.moment or take()
                self._engine.pin(moment)
                return answer(moment)
            except (FileNotFoundError, duckdb.IOException) as error:
                if not isinstance(error, FileNotFoundError):
                    self._check_vanished(error)
                if held.moment is not None:
                    held.moment = self._moments.find_again(held.moment)
                raise FileNotFoundError(str(error)) from error
            except StorageError as error:  # a retained file was damaged since, or is readable again
                if held.moment is None:
                    raise
                again = self._moments.find_again(held.moment)
                if again.refused.keys() == held.moment.refused.keys():
                    raise
                held.moment = again
                raise FileNotFoundError(str(error)) from error

        return self._whole(attempt)

    def _check_vanished(self, error: duckdb.IOException) -> None:
        """Return if a file was removed. Raise StorageError or UsageError if something else is wrong."""
        if (found := explain_error(error, self.data, self._engine.listed())) is not None:
            raise found from error
        if str(self.data) not in str(error):  # a file of the caller's own
            raise UsageError(f"DuckDB: {error}") from error

    def _whole(self, look: Callable[[], _Answer]) -> _Answer:
        return undisturbed(at_once(self.data, look), f"the files of {self.data}")


def _as_candles(bars: pa.Table, timeframe: str) -> pa.Table:
    """Return bars with the columns of candles, or candles without the ids of their trades."""
    columns = [name for name in ("pair", "timeframe", *CANDLE) if name in bars.column_names]
    found = bars.select(columns)
    if "timeframe" not in columns:
        found = labelled(found, timeframe=timeframe).select(["pair", "timeframe", *CANDLE])
    return found


def _sentences_of(rows: pa.Table, begins: Mapping[str, int]) -> list[str]:
    """Return what may be missing in the rows of an analysis; ``begins`` are the pairs that begin after its range."""
    missing = rows["missing_trades"] if "missing_trades" in rows.column_names else None
    sentences = [_MAY_MISS] if missing is not None and (pc.max(missing).as_py() or 0) > 0 else []
    if "left_out" in rows.column_names and rows.num_rows and not pc.sum(rows["bars"]).as_py():
        sentences.append(_NO_BARS)
    return [*sentences, id_runs.late(begins)] if begins else sentences


def _confined(pairs: Collection[str], wanted: Needs) -> Collection[str] | None:
    """Return the pairs of which a statement needs the tables that are split by pair; None if it may be of any."""
    every = wanted.every_imported or any(table.by_pair and not table.imported for table in wanted.tables)
    return None if every else pairs


def _check_pair(moment: Snapshot, pair: str) -> None:
    """Raise the fault in the files of a pair, if there is one."""
    if (fault := moment.faults.get(pair)) is not None:
        raise fault.with_traceback(None) from None


def _listed(moment: Snapshot, table: Dataset) -> tuple[str, ...]:
    """Return the files of a table without ids that may be read."""
    held = moment.stamped.tables[table.name]
    return tuple(path for path in (*held.files, *held.cut_files) if path not in moment.refused)


def _touched(moment: Snapshot, tables: Iterable[Dataset], *, of_named: bool) -> list[str]:
    """Return the files that a query of these tables may read; for trades those of all pairs, or of those named."""
    of_pairs = [*moment.files, *moment.cut_files]
    if of_named:
        folders = tuple(f"/{Branch(TRADES, pair).folder}/" for pair in moment.pairs)
        of_pairs = [path for path in of_pairs if any(folder in path for folder in folders)]
    return [*(path for table in tables for path in _listed(moment, table)), *of_pairs]


def _begins_in(question: TradeQuery, runs: Sequence[Run]) -> bool:
    """Return whether a range includes the first stored trade, so that trades missing before it count."""
    start_us = question.limits.start_us
    return runs[0].span.first > 1 and (start_us is None or start_us <= runs[0].first_us)


def _may_begin_after(start_us: int, runs: Sequence[Run]) -> bool:
    """Return whether a pair may begin after ``start_us``, judging by its stored runs."""
    return runs[0].span.first > 1 and (start_us < runs[0].first_us or runs[0].first_us < EARLIEST_US)


def _missing(
    question: TradeQuery, moment: Snapshot, absent: Mapping[str, Sequence[Span]], promises: Mapping[str, Promise]
) -> _Missing:
    """Return the gaps of each pair that has any."""
    now_us = time.time_ns() // 1000
    found = {
        pair: id_runs.missing_in(
            moment.runs[pair], question.limits, absent.get(pair, ()), promises.get(pair), now_us=now_us
        )
        for pair in question.pairs
    }
    return {pair: missing for pair, missing in found.items() if missing}


def _ends_in(rows: pa.Table) -> tuple[int, int]:
    """Return the lowest and the highest id of rows of one pair, trades or candles."""
    first, last = (rows[name] for name in (IDS if IDS[0] in rows.column_names else ("trade_id", "trade_id")))
    if first.null_count:  # bars without trades
        first, last = first.drop_null(), last.drop_null()
    return id_order.bounds(first, last) or _NONE


def _ends_of(rows: pa.Table, pairs: Sequence[str]) -> _Ends:
    """Return the lowest and the highest id of each pair."""
    if len(pairs) == 1:
        return {pairs[0]: _ends_in(rows)}
    first, last = IDS if IDS[0] in rows.column_names else ("trade_id", "trade_id")
    found = rows.group_by("pair").aggregate([(first, "min"), (last, "max")]).to_pylist()
    return {row["pair"]: (row[f"{first}_min"] or 0, row[f"{last}_max"] or 0) for row in found}


def _windows(question: TradeQuery, moment: Snapshot, ends: _Ends, rows: int) -> Iterator[tuple[str, Span]]:
    for pair in question.pairs:
        for window in provenance.windows(provenance.between(moment.runs[pair], *ends.get(pair, _NONE)), rows):
            yield pair, window
