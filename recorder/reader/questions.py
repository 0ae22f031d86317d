"""What the API and the pages ask of an archive. Each function takes an open archive and returns plain values.

Decimals are text, times ISO 8601 in UTC. Lists come in pages: ``next`` is the cursor of the next one, None after the
last. All SQL is fixed here; what a caller gives is a parameter of it, except in :func:`own_sql`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeAlias

import pyarrow as pa

from recorder.core.model import TIMEFRAMES
from recorder.errors import UsageError
from recorder.page.overview import SPARK_SLOTS
from recorder.query import arguments, candle_plot, catalogue, row_text
from recorder.query.arguments import Range
from recorder.query.chart_rows import bar_begin, moment, width_us
from recorder.query.connect import Archive

Row: TypeAlias = dict[str, Any]
Page: TypeAlias = dict[str, Any]

ROWS: Final = 100_000
"""The maximum number of rows of one answer."""
BARS: Final = 5_000
"""The maximum number of bars of one answer, with trades or without."""
CALENDAR_DAYS: Final = 90
_SLOT_US: Final = 900_000_000
_RESERVED: Final = frozenset({"to", "dtype_backend", "decimals", "index"})
"""Names of parameters of Archive.query() itself."""
_SELECTS: Final = re.compile(r"\s*(?:select|from|with|values|table)\b", re.IGNORECASE)
"""Statements that can stand within another one."""

_HELD: Final = """
SELECT epoch_us(min(first_time)) AS first_us, epoch_us(max(last_time)) AS last_us FROM coverage WHERE pair = $pair
"""
_NEXT_ID: Final = """
SELECT min(greatest(first_id, $after + 1)) AS id FROM coverage WHERE pair = $pair AND last_id > $after
"""
_PREVIOUS_ID: Final = """
SELECT max(least(last_id, $before - 1)) AS id FROM coverage WHERE pair = $pair AND first_id < $before
"""
_TRADES: Final = """
SELECT trade_id, time, price, qty, side, ord_type, misc, source, received
FROM trades
WHERE pair = $pair AND trade_id BETWEEN $first AND $last
ORDER BY trade_id
"""
_OPEN: Final = """
SELECT pair, sum(missing)::BIGINT AS missing FROM gaps WHERE state = 'open' GROUP BY pair ORDER BY pair
"""
_PAIRS: Final = """
WITH
held AS (
    SELECT pair, min(first_id) AS first_id, max(last_id) AS last_id, min(first_time) AS first_time,
        max(last_time) AS last_time, sum(rows)::BIGINT AS rows
    FROM coverage
    GROUP BY pair
),
missed AS (SELECT pair, count(*) AS gaps, sum(missing)::BIGINT AS missing FROM gaps WHERE state = 'open' GROUP BY pair)
SELECT h.*, coalesce(m.gaps, 0) AS gaps, coalesce(m.missing, 0) AS missing
FROM held AS h
LEFT JOIN missed AS m
    USING (pair)
"""
_TODAY: Final = "SELECT pair, min(trade_id) AS first_id FROM trades WHERE time >= $midnight GROUP BY pair"
_SPARKS: Final = """
SELECT pair, epoch_us(time) // 900000000 AS slot, arg_max(price, trade_id)::DOUBLE AS close
FROM trades
WHERE time >= $since
GROUP BY ALL
ORDER BY ALL
"""
_QUOTED: Final = "SELECT max(last_received) AS last FROM quote_sessions WHERE pair = $pair"
_QUOTE: Final = """
SELECT received, bid, bid_qty, ask, ask_qty, quote_spread(bid, ask) AS spread,
    (10000 * quote_spread(bid, ask) / mid_price(bid, ask))::DOUBLE AS basis_points
FROM quotes
WHERE pair = $pair AND received > $last - INTERVAL 1 HOUR
ORDER BY session DESC, message DESC
LIMIT 1
"""
_BOOKED: Final = "SELECT max(last_received) AS last FROM book_sessions WHERE pair = $pair"
_BOOK: Final = """
SELECT side, price, qty, verified, received, sum(qty) OVER (PARTITION BY side ORDER BY level) AS total
FROM book_at($pair, $last)
ORDER BY price DESC
"""
_CALENDAR: Final = "SELECT pair, day, status FROM certificates WHERE day >= $first ORDER BY pair, day"


@dataclass(frozen=True, slots=True)
class Listing:
    """A list in pages: its rows, the columns that order them and identify each, and the filters that it offers.

    ``key`` maps columns to their DuckDB type, ``filters`` the names of parameters to conditions.
    """

    source: str
    key: Mapping[str, str]
    filters: Mapping[str, str] = field(default_factory=dict)


LISTINGS: Final = {
    "pairs": Listing(f"({_PAIRS})", {"pair": "VARCHAR"}, {"pair": "pair = $pair"}),
    "gaps": Listing("gaps", {"pair": "VARCHAR", "first_id": "BIGINT"}, {"pair": "pair = $pair"}),
    "certificates": Listing(
        "(SELECT * EXCLUDE (sha256) FROM certificates)",
        {"day": "DATE", "pair": "VARCHAR"},
        {"pair": "pair = $pair", "start": "day >= utc_day($start)", "stop": "day < utc_day($stop)"},
    ),
    "events": Listing(
        "(SELECT time, kind, pair, detail::VARCHAR AS detail FROM events)",
        {"time": "TIMESTAMPTZ", "kind": "VARCHAR", "coalesce(pair, '')": "VARCHAR", "detail": "VARCHAR"},
        {"pair": "pair = $pair", "kind": "kind = $kind", "start": "time >= $start", "stop": "time < $stop"},
    ),
}


def listed(
    archive: Archive,
    name: str,
    limit: int,
    cursor: str | None,
    *,
    newest: bool = False,
    **given: Any,  # noqa: ANN401 -- whatever SQL accepts
) -> Page:
    """Return a page of a list, with ``newest`` from its end. ``given`` are values of its filters, or None."""
    listing = LISTINGS[name]
    values = {key: value for key, value in given.items() if value is not None}
    conditions = [listing.filters[key] for key in values]
    if cursor is not None:
        after = _decoded(cursor, len(listing.key))
        values |= {f"key_{place}": value for place, value in enumerate(after)}
        compared = ", ".join(f"$key_{place}::{kind}" for place, kind in enumerate(listing.key.values()))
        conditions.append(f"({', '.join(listing.key)}) {'<' if newest else '>'} ({compared})")
    keys = ", ".join(f"({column})::VARCHAR AS key_{place}" for place, column in enumerate(listing.key))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = ", ".join(f"{column} DESC" if newest else column for column in listing.key)
    text = f"SELECT *, {keys} FROM {listing.source}{where} ORDER BY {order} LIMIT {limit + 1:d}"  # noqa: S608 -- of constants
    rows = _ask(archive, text, **values)
    last = rows[limit - 1] if len(rows) > limit else None
    ends = None if last is None else _encoded([last[f"key_{place}"] for place in range(len(listing.key))])
    shown = [{key: value for key, value in row.items() if not key.startswith("key_")} for row in rows[:limit]]
    return {name: shown, "next": ends}


def trades(archive: Archive, pair: str, limit: int, *, after: int | None, before: int | None) -> Page:
    """Return trades in ascending ids behind ``after``, or in descending ones below ``before``; neither: the newest.

    A page covers ``limit`` ids, so it has fewer trades where some are missing. Raise UsageError for an unknown pair.
    """
    pair = archive.resolve(pair)
    if after is not None:
        first = _scalar(archive, _NEXT_ID, pair=pair, after=after)
        last = None if first is None else first + limit - 1
        found = [] if first is None else _ask(archive, _TRADES, pair=pair, first=first, last=last)
        more = last is not None and _scalar(archive, _NEXT_ID, pair=pair, after=last) is not None
        return {"pair": pair, "trades": found, "next": last if more else None}
    last = _scalar(archive, _PREVIOUS_ID, pair=pair, before=2**62 if before is None else before)
    first = None if last is None else max(1, last - limit + 1)
    found = [] if first is None else _ask(archive, _TRADES, pair=pair, first=first, last=last)[::-1]
    more = first is not None and _scalar(archive, _PREVIOUS_ID, pair=pair, before=first) is not None
    return {"pair": pair, "trades": found, "next": first if more else None}


def candles(archive: Archive, pair: str, timeframe: str, limit: int, limits: Range) -> Page:
    """Return candles built from trades, ascending: from the start of the range, or the last ones before its stop.

    ``start`` and ``stop`` are what the page covers; ``next`` and ``previous`` are the start of the next page and the
    stop of the one before.
    """
    pair = archive.resolve(pair)
    first_us, last_us = _held(archive, pair)
    part = _window(limits, timeframe, limit, last_us)
    if part.start_us is None or part.stop_us is None:  # never: _window has both
        raise UsageError("the range has no end")
    table = archive.candles(
        pair,
        arguments.timeframe(timeframe),
        moment(part.start_us),
        moment(part.stop_us),
        on_gap="ignore",
        to="arrow",
        decimals=True,
    )
    rows = _plain(table.drop_columns([name for name in ("pair", "timeframe") if name in table.column_names]))
    until_us = last_us + 1 if limits.stop_us is None else min(limits.stop_us, last_us + 1)
    return {
        "pair": pair,
        "timeframe": timeframe,
        "start": _text(part.start_us),
        "stop": _text(part.stop_us),
        "candles": rows,
        "next": _text(part.stop_us) if part.stop_us < until_us else None,
        "previous": _text(part.start_us) if part.start_us > first_us and limits.start_us is None else None,
    }


def chart(archive: Archive, pair: str, timeframe: str, limits: Range) -> Page:
    """Return a piece of a chart as ``assets/candles.js`` reads it, or ``{"bars": None}`` where no trade is stored.

    ``first`` and ``last`` are the ends of what is stored of the pair, in ms.
    """
    pair = archive.resolve(pair)
    arguments.timeframe(timeframe)
    first_us, last_us = _held(archive, pair)
    part = _window(limits, timeframe, BARS, last_us)
    ends = {"first": first_us // 1000, "last": last_us // 1000}
    begin_us = max(part.start_us or 0, min(bar_begin(first_us, timeframe), part.stop_us or 0))
    wanted = Range(begin_us, None if limits == Range(None, None) else part.stop_us)
    source = candle_plot.source(archive, pair, timeframe, wanted)
    try:
        return {**source.chart().data(), **ends}
    except UsageError:
        empty = {"from": (part.start_us or 0) // 1000, "until": (part.stop_us or 0) // 1000}
        return {"pair": pair, "bars": None, **empty, **ends}


def quote(archive: Archive, pair: str) -> Row | None:
    """Return the newest recorded quote of a pair with its spread, also in basis points; None if there is none."""
    ((last,),) = row_text.rows(archive.sql(_QUOTED, to="arrow", pair=pair))
    found = [] if last is None else _ask(archive, _QUOTE, pair=pair, last=last)
    return found[0] if found else None


def book(archive: Archive, pair: str) -> list[Row]:
    """Return the newest recorded book of a pair by falling price, ten levels a side; no row if there is none.

    ``total`` is the quantity from the best price of the side to this level.
    """
    ((last,),) = row_text.rows(archive.sql(_BOOKED, to="arrow", pair=pair))
    return [] if last is None else _ask(archive, _BOOK, pair=pair, last=last)


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of a query, and how complete they are.

    ``missing`` counts by pair the trades that may be missing in them, ``begins`` tells of pairs recorded later than
    its range when they begin; ``digest`` identifies the trades used, None where that is unknown. ``truncated`` is
    whether there are more rows.
    """

    rows: pa.Table
    sql: str
    missing: Mapping[str, int]
    begins: Mapping[str, str] = field(default_factory=dict)
    digest: str | None = None
    truncated: bool = False

    @property
    def completeness(self) -> Row:
        """Return what is missing, in plain values."""
        return {
            "complete": not self.missing and not self.begins,
            "missing": dict(self.missing),
            "begins": dict(self.begins),
            "digest": self.digest,
        }

    def json(self) -> Row:
        """Return the answer in plain values."""
        columns = [{"name": one.name, "type": str(one.type)} for one in self.rows.schema]
        rows = [[row_text.json_value(value) for value in row] for row in row_text.rows(self.rows)]
        return {
            "columns": columns,
            "rows": rows,
            "truncated": self.truncated,
            "completeness": self.completeness,
            "sql": self.sql,
        }


def own_sql(archive: Archive, text: str) -> Answer:
    """Return the rows of a statement that only reads, at most :data:`ROWS`. Raise UsageError for any other."""
    archive.check(text)
    statement = text.strip().rstrip(";").rstrip()
    if _SELECTS.match(statement):
        statement = f"SELECT * FROM ({statement}\n) LIMIT {ROWS + 1:d}"  # noqa: S608 -- it is judged as a whole
    rows = archive.sql(statement, to="arrow", decimals=True)
    missing = {row["pair"]: row["missing"] for row in _ask(archive, _OPEN)}
    named = {pair: count for pair, count in missing.items() if pair in text}
    return _cut(Answer(rows, text, named or missing))


def named(archive: Archive, name: str, parameters: Mapping[str, object]) -> Answer:
    """Return the rows of a question of the catalogue. Raise UsageError for what it does not take."""
    question = catalogue.question(name)
    # Not all names are free to be those of parameters: some are of the call below.
    if set(parameters).isdisjoint(_RESERVED):
        given: dict[str, Any] = dict(parameters)
        rows = archive.query(name, to="arrow", decimals=True, **given)
    else:
        question.bound(parameters)  # raises: no question has a parameter of such a name
        raise UsageError(f"{name} has no such parameter")
    described = json.loads((rows.schema.metadata or {}).get(b"recorder", b"{}"))
    missing = {pair: count for pair, count in described.get("missing", {}).items() if count}
    return _cut(Answer(rows, question.text, missing, described.get("begins", {}), described.get("digest")))


def history(archive: Archive, now: datetime) -> Page:
    """Return what the overview shows of the past: the newest trades, a small line of each pair, and the calendar.

    ``from_id`` is the id from which on trades are of today. The letters of a calendar are those of the statuses of its
    days, the last one today's; a day without a certificate is a space.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    today = {row["pair"]: row["first_id"] for row in _ask(archive, _TODAY, midnight=midnight)}
    first_slot = int(now.timestamp()) * 1_000_000 // _SLOT_US - SPARK_SLOTS + 1
    sparks: dict[str, list[list[float]]] = {}
    since = datetime.fromtimestamp(first_slot * _SLOT_US // 1_000_000, UTC)
    for row in _ask(archive, _SPARKS, since=since):
        sparks.setdefault(row["pair"], []).append([row["slot"] - first_slot, row["close"]])
    newest = _plain(archive.latest(to="arrow", decimals=True)) if archive.pairs() else []
    first = midnight.date() - timedelta(days=CALENDAR_DAYS - 1)
    calendar: dict[str, list[str]] = {}
    for row in _ask(archive, _CALENDAR, first=first):
        days = calendar.setdefault(row["pair"], [" "] * CALENDAR_DAYS)
        place = (date.fromisoformat(row["day"]) - first).days
        if place < CALENDAR_DAYS:
            days[place] = "." if row["status"] == "pending" else row["status"][0]
    return {
        "day": midnight.date().isoformat(),
        "first_day": first.isoformat(),
        "pairs": {
            row["pair"]: {
                **row,
                "from_id": today.get(row["pair"], row["trade_id"] + 1),
                "spark": sparks.get(row["pair"], []),
            }
            for row in newest
        },
        "calendar": {pair: "".join(days) for pair, days in sorted(calendar.items())},
    }


def _cut(answer: Answer) -> Answer:
    if answer.rows.num_rows <= ROWS:
        return answer
    return Answer(answer.rows.slice(0, ROWS), answer.sql, answer.missing, answer.begins, answer.digest, truncated=True)


def _held(archive: Archive, pair: str) -> tuple[int, int]:
    """Return when the first and the last stored trade of a pair were made, in µs since 1970 UTC."""
    ((first_us, last_us),) = row_text.rows(archive.sql(_HELD, to="arrow", pair=pair))
    if first_us is None:
        raise UsageError(f"no trade of {pair} is stored")
    return first_us, last_us


def _window(limits: Range, timeframe: str, bars: int, last_us: int) -> Range:
    """Return the whole bars of a range that one answer may have: its first ones, or its last ones without a start."""
    arguments.timeframe(timeframe)
    width = width_us(timeframe)
    stop_us = last_us + 1 if limits.stop_us is None else limits.stop_us
    end_us = bar_begin(stop_us - 1, timeframe) + width
    if limits.start_us is None:
        return Range(max(0, end_us - bars * width), end_us)
    begin_us = bar_begin(limits.start_us, timeframe)
    return Range(begin_us, min(end_us, begin_us + bars * width) if end_us > begin_us else begin_us + width)


def _ask(archive: Archive, text: str, **values: Any) -> list[Row]:  # noqa: ANN401 -- whatever SQL accepts
    return _plain(archive.sql(text, to="arrow", decimals=True, **values))


def _plain(table: pa.Table) -> list[Row]:
    names = table.column_names
    return [
        {name: row_text.json_value(value) for name, value in zip(names, row, strict=True)}
        for row in row_text.rows(table)
    ]


def _scalar(archive: Archive, text: str, **values: Any) -> int | None:  # noqa: ANN401 -- likewise
    ((found,),) = row_text.rows(archive.sql(text, to="arrow", **values))
    return None if found is None else int(found)


def _text(us: int) -> str:
    return moment(us).isoformat().removesuffix("+00:00") + "Z"


def _encoded(key: Sequence[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _decoded(cursor: str, length: int) -> list[str]:
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        key = None
    if not isinstance(key, list) or len(key) != length or not all(isinstance(one, str) for one in key):
        raise UsageError("cursor is not one that an answer gave as next")
    return key


def timeframes() -> list[str]:
    """Return the known timeframes, shortest first."""
    return list(TIMEFRAMES)
