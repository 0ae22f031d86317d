"""``recorder account``: an own account, read with a key that is proven unable to trade."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich import box
from rich.table import Table

from recorder import config as configuration
from recorder.account import service
from recorder.archive import account_certificate, account_rows
from recorder.cli import output
from recorder.cli.output import FormatOption, JsonOption, OutputOption
from recorder.cli.screen import Screen, echo, text
from recorder.config import Config
from recorder.core.account import AccountEvent
from recorder.core.account_trail import AccountCertificate
from recorder.core.model import plain
from recorder.errors import CheckFailed, KeyRefused
from recorder.kraken import private_api, private_permissions
from recorder.kraken.private_permissions import BOXES, NEEDED, OPEN
from recorder.ops import log, process_setup
from recorder.runtime.stop import Stop

account = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Record your own trades, fees and balances, with a key that is proven unable to trade.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

ATTEMPTS: Final = 3
"""Attempts of a check that gets no answer."""
_STYLES: Final = {"ok": "green", "note": "yellow", "wrong": "red"}

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
]
PathOption = Annotated[Path | None, typer.Option("--path", help="The account's folder, instead of account.path.")]


@account.command()
def check(*, config_file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Ask Kraken what the key may do, and print it as a table; nothing else is requested, and no order ever tried.

    Exit code 2 if the key may do more than read. A key that Kraken refused before is tried once more.
    """
    settings = configuration.load(config_file)
    process_setup.keep_secrets()
    info = asyncio.run(_key_info(settings))
    allow, now_s = settings.account.allow_trading_key, datetime.now(UTC).timestamp()
    remarks = list(private_permissions.remarks(info, now_s, allow_trading_key=allow))
    if as_json:
        echo(json.dumps({"name": info.name, **{one.topic: [one.level, one.text] for one in remarks}}, indent=2))
    else:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
        for heading in ("key", "", "what Kraken reports"):
            table.add_column(heading, no_wrap=heading != "what Kraken reports", overflow="fold")
        table.add_row("name", "", text(info.name))
        for one in remarks:
            table.add_row(one.topic, text(one.level, _STYLES[one.level]), text(one.text))
        Screen().print_table(table)
    if (reason := private_permissions.refusal(info, allow_trading_key=allow)) is not None:
        raise KeyRefused(reason)


async def _key_info(settings: Config) -> private_permissions.KeyInfo:
    async with service.connected(settings, service.this_host()) as (client, _):
        await client.forgive()
        return private_permissions.parse(await client.patiently(private_api.key_info(), attempts=ATTEMPTS))


@account.command()
def guide() -> None:
    """Show how to make a key that can only read, and why each box."""
    ticked = "\n".join(f"   [x] {BOXES[right]}" for right in (*NEEDED, OPEN))
    left = "\n".join(f"   [ ] {BOXES[right]}" for right in sorted(BOXES) if right not in {*NEEDED, OPEN})
    echo(
        f"""1. On kraken.com: Settings, API, Create API key. Name it after this recorder: no other tool may use it,
   because each request needs a greater number (nonce) than the one before, and two users of a key disturb each other.

2. Tick what reads, and nothing else:
{ticked}
   Funds are the balances that the arithmetic must end with; the ledger has every fee and transfer; closed orders and
   trades are the fills. Open ones are optional.

3. Leave out all of these. With one of them a stolen key could move or lose money, and the recorder refuses it:
{left}

4. Under "IP allowlist" write the address of this machine: then the key is of no use elsewhere.
   An expiry date and the limits of "Query start date" and "Query end date" are not needed; limits hide history.

5. Write both halves into a file that you alone can read, and never into config.yaml or an argument:
      (umask 077; nano kraken-api-key)
         KRAKEN_API_KEY=…
         KRAKEN_API_SECRET=…
         KRAKEN_API_TOTP=…      only if the key has an authenticator as second factor; KRAKEN_API_OTP for a password
   and name it: account.key_file. A systemd credential called kraken-api-key, or these variables in the environment,
   do as well.

6. recorder account check      shows what this key may do
   recorder account run        records; with account.record: true, `recorder run` does it beside everything else

7. Once a year make another key in the same way, change the file, and delete the old key: the history stays."""
    )


@account.command()
def run(
    *,
    config_file: ConfigOption = None,
    once: Annotated[bool, typer.Option("--once", help="Read it once, print its certificate, and end.")] = False,
) -> None:
    """Record the account until SIGTERM or Ctrl-C. Exit code 1 if with --once the account is not reconciled."""
    settings = configuration.load(config_file)
    process_setup.keep_secrets()
    process_setup.prepare()
    log.configure(settings.ops.log)
    found: list[AccountCertificate] = []
    asyncio.run(_record(settings, found, once=once))
    if once and found:
        _print_verdict(found[-1])


async def _record(settings: Config, found: list[AccountCertificate], *, once: bool) -> None:
    stop = Stop()
    stop.on_signals()
    await service.record(settings, stop, certified=found.append, once=once)


@account.command()
def status(*, config_file: ConfigOption = None, path: PathOption = None, as_json: JsonOption = False) -> None:
    """Print what is stored, what the key may do, and the certificate of the account; from disk alone.

    Exit code 1 if the account is not reconciled.
    """
    layout = account_rows.existing(_folder(config_file, path))
    found, key = account_certificate.certificate(layout), account_certificate.last_key(layout)
    stopped = account_rows.events(layout, AccountEvent.STOPPED)[-1:]
    if as_json:
        content = {
            "reconciled": found.is_reconciled,
            "lines": account_certificate.sentences(found),
            "key": {name: value for name, value in key.items() if name != "key"},
            "stopped": stopped,
        }
        echo(json.dumps(content, indent=2, ensure_ascii=False))
        if not found.is_reconciled:
            raise typer.Exit(1)
        return
    if key:
        echo(f"key        {key.get('name', '')}: {key.get('rights', '')}")
    for one in stopped:
        echo(f"stopped    {_time(one['time_us'])}: {one['reason']}")
    _print_trails(found)
    _print_verdict(found)


@account.command()
def sql(
    statement: Annotated[str, typer.Argument(metavar="TEXT", help="One SQL statement, such as: SELECT * FROM fills")],
    *,
    config_file: ConfigOption = None,
    path: PathOption = None,
    format_: FormatOption = None,
    to: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Query the account in SQL: account_ledger, account_trades, account_orders, account_balances, fills, fees and more.

    It only reads, and reads nothing but the account. Decimals are exact, times UTC.
    """
    from recorder.query.account import connect_account  # noqa: PLC0415 -- DuckDB is only for questions

    chosen = output.chosen(format_, to, as_json=as_json)
    with connect_account(_folder(config_file, path)) as found:
        output.write(found.sql(statement, to="arrow"), chosen)


@account.command()
def export(
    what: Annotated[str, typer.Argument(metavar="ledgers|trades", help="Which of Kraken's two exports to write.")],
    *,
    to_file: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The new file to write; - is standard output.")
    ],
    config_file: ConfigOption = None,
    path: PathOption = None,
) -> None:
    """Write the account as CSV with the columns of Kraken's own export, which accounting tools read."""
    from recorder.query.account import connect_account  # noqa: PLC0415 -- DuckDB is only for questions

    chosen = output.chosen(output.Format.CSV, to_file)
    with connect_account(_folder(config_file, path)) as found:
        output.write(found.kraken_csv(what), chosen)


def _folder(config_file: Path | None, path: Path | None) -> Path:
    return path or configuration.load(config_file).account_path


def _print_verdict(found: AccountCertificate) -> None:
    first, *others = account_certificate.sentences(found)
    for one in others:
        echo(one)
    if not found.is_reconciled:
        raise CheckFailed(first)
    echo(first)


def _print_trails(found: AccountCertificate) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in ("asset", "class", "entries", "balance"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in {"entries", "balance"} else "left")
    for trail in found.trails:
        table.add_row(text(trail.asset), text(trail.asset_class), f"{trail.entries:,}", plain(trail.last))
    Screen().print_table(table)


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
