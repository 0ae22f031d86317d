"""``recorder look``: the current market of a pair, without an archive."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from recorder import config
from recorder.cli.ladder import ladder
from recorder.cli.resolve_pairs import resolve_pairs
from recorder.cli.screen import Screen, echo, text
from recorder.clock import SystemClock
from recorder.config import Config
from recorder.core.model import Instrument, Trade, plain
from recorder.core.throttling import Pace
from recorder.errors import ExchangeError
from recorder.kraken import market_state, rest_api
from recorder.kraken.market_state import Book, Day, Level
from recorder.kraken.odd_rows import OddRow
from recorder.net.http import Http, client_session, proxy_for
from recorder.ops.metrics import Metrics
from recorder.runtime.exchange_client import Exchange


def look(
    pairs: Annotated[list[str], typer.Argument(help="Pairs, by any name Kraken knows them by: BTC/USD, XBTUSD.")],
    *,
    levels: Annotated[int, typer.Option(min=1, max=500, help="So many levels of each side of the book.")] = 5,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array; numbers as exact texts.")] = False,
) -> None:
    """Show the last trade, 24 hours, the spread and the top of the book, now. Needs no archive, and stores nothing.

    Quantities in the book are cut to three digits, because Kraken sends no more here.
    """
    found = asyncio.run(_request(config.load(config_file), list(dict.fromkeys(pairs)), levels))
    if as_json:
        echo(json.dumps([_as_json(*one) for one in found], indent=2))
        return
    for one in found:
        _show(*one)


class _Nobody:
    """Stores nothing: here an unreadable answer is an error, which reports it."""

    async def unreadable(self, request: rest_api.Request, error: ExchangeError, *, pair: str | None = None) -> None:
        """See Keeper."""

    async def odd(self, request: rest_api.Request, recv_ns: int, pair: str, rows: Sequence[OddRow]) -> None:
        """See Keeper."""

    async def stored(self, request: rest_api.Request, trades: Sequence[Trade]) -> None:
        """See Keeper."""


async def _request(settings: Config, names: Sequence[str], levels: int) -> list[tuple[str, Day, Book]]:
    where, clock = settings.exchange, SystemClock()
    async with client_session(proxy_for(where.rest_url, where.proxy)) as client:
        http = Http(client, where.rest_url, pace=Pace(where.requests_per_second), clock=clock)
        exchange = Exchange(http, _Nobody(), metrics=Metrics())
        _, instruments = await resolve_pairs(exchange, names)
        return [await _of(exchange, one, levels) for one in instruments.values()]


async def _of(exchange: Exchange, pair: Instrument, levels: int) -> tuple[str, Day, Book]:
    ticker = rest_api.ticker([pair], pair.asset_class)
    _, day = await exchange.request(ticker, functools.partial(market_state.day, instrument=pair))
    _, book = await exchange.request(
        rest_api.depth(pair, levels), functools.partial(market_state.book, instrument=pair)
    )
    return pair.pair, day, book


def _show(pair: str, day: Day, book: Book) -> None:
    spread = "a side is empty" if book.spread is None else f"{plain(book.spread)} ({book.spread_bps} bps)"
    lines = (
        ("last", f"{plain(day.last)} for {plain(day.last_qty)}"),
        ("spread", spread),
        ("24 h", f"{plain(day.low)} to {plain(day.high)}, vwap {plain(day.vwap)}"),
        ("", f"{plain(day.volume)} in {day.trades:,} trades"),
    )
    screen = Screen()
    screen.print(text(pair, "bold"))
    for name, value in lines:
        screen.print(f"  {name:<7} {value}", highlight=False)
    bids, asks = ([(one.price, one.qty) for one in side] for side in (book.bids, book.asks))
    screen.print_table(ladder(bids, asks))


def _as_json(pair: str, day: Day, book: Book) -> dict[str, object]:
    return {
        "pair": pair,
        **{name: _plain(getattr(day, name)) for name in Day.__dataclass_fields__},
        "spread": _plain(book.spread),
        "spread_bps": _plain(book.spread_bps),
        "asks": [_level(one) for one in book.asks],
        "bids": [_level(one) for one in book.bids],
    }


def _level(level: Level) -> list[object]:
    return [plain(level.price), plain(level.qty), level.time_s]


def _plain(value: object) -> object:
    return plain(value) if isinstance(value, Decimal) else value
