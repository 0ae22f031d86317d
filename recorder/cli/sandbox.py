"""``recorder sandbox``: a local imitation of Kraken, to record from without a network.

Contains the options and the printed output. The exchange itself is ``recorder.sandbox``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from recorder.cli import INTERRUPTED
from recorder.cli.screen import echo
from recorder.clock import SystemClock
from recorder.errors import UsageError
from recorder.sandbox import history_files as history_zips
from recorder.sandbox.fault_schedule import NAMES, parse_act
from recorder.sandbox.history_files import Defect
from recorder.sandbox.market import CHARACTERS, Market, others_trading
from recorder.sandbox.market_protocol import MarketProtocol
from recorder.sandbox.pairs import some
from recorder.sandbox.replay import listing_of, replay_files
from recorder.sandbox.server import Sandbox
from recorder.sandbox.throttle import Throttle

if TYPE_CHECKING:
    from recorder.sandbox.private_rest import PrivateRest

HOUR_NS: Final = 3_600 * 10**9
DAY_NS: Final = 24 * HOUR_NS


def sandbox(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same market.")] = 1,
    rate: Annotated[
        float, typer.Option(min=0, max=1_000_000, help="Trades a second, of all pairs together; 0 for bursts only.")
    ] = 50.0,
    history: Annotated[int, typer.Option(min=0, help="Trades of each pair before the start.")] = 1000,
    truth: Annotated[Path | None, typer.Option(help="Write every trade made to this file, as JSON Lines.")] = None,
    page: Annotated[list[Path] | None, typer.Option(help="Serve this recorded REST Trades answer.")] = None,
    session: Annotated[list[Path] | None, typer.Option(help="Play this recorded WebSocket v2 session.")] = None,
    listing: Annotated[list[Path] | None, typer.Option(help="List the pairs of this AssetPairs answer.")] = None,
    trade: Annotated[
        list[str] | None, typer.Option(help="Let this pair of the listing trade too, beside the usual six; * for all.")
    ] = None,
    throttle: Annotated[
        bool, typer.Option(help="Refuse who asks REST for more than 30 at once and one a second, as Kraken does.")
    ] = False,
    reject: Annotated[list[str] | None, typer.Option(help="Refuse subscriptions to this pair.")] = None,
    speed: Annotated[float, typer.Option(min=0, help="Speed of recorded sessions; 0 plays all at once.")] = 1.0,
    history_files: Annotated[
        Path | None,
        typer.Option(help="Write the trades before the start into this folder, as Kraken's history files."),
    ] = None,
    history_defect: Annotated[
        list[Defect] | None, typer.Option(help="What is wrong with the history files; may be repeated.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="SECOND:FAULT[:SECONDS], like 8:outage:4, or for the next 3 requests to one path "
            f"8:busy:3x:/0/public/OHLC; faults are {', '.join(NAMES)}."
        ),
    ] = None,
    account: Annotated[
        Path | None,
        typer.Option(help="Serve an invented account too, and write a key to read it into this new file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the addresses as one line of JSON.")] = False,
) -> None:
    """Serve a local imitation of Kraken until interrupted.

    The market is invented from a seed, or, if a page or session is given, made from those recordings only.
    """
    clock = SystemClock()
    market: MarketProtocol
    if page or session:
        market = replay_files(listings=listing or (), pages=page or (), sessions=session or (), speed=speed)
    else:
        listed = [pair for path in listing or () for pair in listing_of(path)]
        characters = [*CHARACTERS, *others_trading(listed, trade or ())]
        market = Market(
            start_ns=clock.wall_ns(), seed=seed, rate=rate, history=history, characters=characters, listed=listed
        )
    if history_files is not None:
        _write_history(market, history_files, history_defect or (), quiet=as_json)
    private = None if account is None else _account(account, seed, clock.wall_ns())
    script = [parse_act(text) for text in fault or ()]
    exchange = Sandbox(market, clock=clock, truth=truth, script=script, seed=seed, private=private)
    if throttle:
        exchange.throttle(Throttle(clock))
    for pair in reject or ():
        exchange.faults.reject(pair)
    stopped_by = asyncio.run(_serve(exchange, host=host, port=port, as_json=as_json))
    if stopped_by == signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


def _write_history(market: MarketProtocol, folder: Path, defects: Sequence[Defect], *, quiet: bool) -> None:
    """Write the history files of a market, and list them."""
    written = history_zips.write(market.tapes, folder, defects=defects)
    if not quiet:
        for path in written:
            echo(f"History    {path}")


def _account(key_file: Path, seed: int, now_ns: int) -> PrivateRest:
    """Return the private endpoints of an invented account, and write a new key for it, for its owner alone to read."""
    from recorder.sandbox.private_account import PrivateAccount  # noqa: PLC0415 -- few sandboxes have an account
    from recorder.sandbox.private_rest import PrivateRest, new_key  # noqa: PLC0415 -- likewise

    invented, key = PrivateAccount(seed), new_key(now_ns)
    invented.invent(trades=200, others=600, start_ns=now_ns - 400 * DAY_NS, end_ns=now_ns - HOUR_NS)
    try:
        with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"KRAKEN_API_KEY={key.key}\nKRAKEN_API_SECRET={key.secret}\n")
    except OSError as error:
        raise UsageError(f"{key_file} cannot be made ({error.strerror}): name a new file for the key") from None
    return PrivateRest(invented, [key])


async def _serve(exchange: Sandbox, *, host: str, port: int, as_json: bool) -> signal.Signals:
    """Serve until SIGINT or SIGTERM arrives; return which."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[signal.Signals] = loop.create_future()

    def stop(by: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(by)

    with contextlib.ExitStack() as stack:
        for by in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(by, stop, by)
            stack.callback(loop.remove_signal_handler, by)
        async with exchange.serve(host=host, port=port):
            _announce(exchange, as_json=as_json)
            broken = asyncio.create_task(exchange.broken())
            stack.callback(broken.cancel)
            either: set[asyncio.Future[Any]] = {stopped, broken}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                await broken
            return stopped.result()


def _announce(exchange: Sandbox, *, as_json: bool) -> None:
    if as_json:
        echo(json.dumps({"rest_url": exchange.rest_url, "ws_url": exchange.ws_url}))
        return
    echo(f"REST       {exchange.rest_url}")
    echo(f"WebSocket  {exchange.ws_url}")
    echo(f"Pairs      {some(exchange.market.listing)}")
    echo("Serving until interrupted.")
