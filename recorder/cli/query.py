"""``recorder query``: list the named queries of the catalogue, or run one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.table import Table

from recorder.cli import output
from recorder.cli.in_journal import LiveOption, reporting_waiting_trades
from recorder.cli.interrupts import interruptible
from recorder.cli.output import Format, FormatOption, JsonOption, OutputOption
from recorder.cli.place import PlaceOption
from recorder.cli.screen import Screen, echo, echo_warnings, text
from recorder.cli.times import FromOption, ToOption
from recorder.errors import UsageError
from recorder.query import arguments, catalogue
from recorder.query.catalogue import NamedQuery, Parameter
from recorder.query.connect import connect

_FLAGS: Final = {"pair": "--pair", "pairs": "--pair", "start": "--from", "stop": "--to"}
"""Common parameters, with flags of their own."""


def query(
    name: Annotated[str | None, typer.Argument(help="Which one; without it they are listed.")] = None,
    *,
    pair: Annotated[list[str] | None, typer.Option(help="A pair; again for another, where it takes several.")] = None,
    from_: FromOption = None,
    to: ToOption = None,
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Another parameter; again for another.")
    ] = None,
    data: PlaceOption = Path("data"),
    live: LiveOption = False,
    format_: FormatOption = None,
    out: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the available queries, or run one: recorder query vwap --pair BTC/USD --from 2025-11-10.

    Results are exact, except statistics such as a volatility. Trades that may be missing in them are reported in their
    columns, and on standard error.
    """
    chosen = output.chosen(format_, out, as_json=as_json)
    if name is None:
        _refuse_without_name(pair=pair, from_=from_, to=to, param=param)
        _list(catalogue.questions(), chosen)
        return
    question = catalogue.question(name)
    given = _given(question, pairs=pair or [], from_=from_, to=to, params=param or [])
    for parameter in question.missing(given):
        raise UsageError(f"{name} needs {_flag(parameter)}: {parameter.help}")
    with (
        reporting_waiting_trades(data, live=live),
        echo_warnings(),
        connect(data, live=live) as archive,
        interruptible(archive),
    ):
        table = archive.query(name, to="arrow", dtype_backend=None, decimals=True, **given)
        output.write(table, chosen)


def _refuse_without_name(**options: object) -> None:
    if any(options.values()):
        raise UsageError("which question? give its name first; `recorder query` lists them")


def _given(
    question: NamedQuery, *, pairs: Sequence[str], from_: str | None, to: str | None, params: Sequence[str]
) -> dict[str, Any]:
    """Return the values of the options, under the names of the query's parameters."""
    arguments.time_range(from_, to)
    names = {parameter.name for parameter in question.parameters}
    if len(pairs) > 1 and "pairs" not in names:
        raise UsageError(f"{question.name} takes one --pair, not {len(pairs)}")
    wanted = {"pairs" if "pairs" in names else "pair": list(pairs) if "pairs" in names else next(iter(pairs), None)}
    given: dict[str, Any] = {key: value for key, value in {**wanted, "start": from_, "stop": to}.items() if value}
    for key in given:
        if key not in names:
            raise UsageError(f"{question.name} has no use for {_FLAGS[key]}")
    for written in params:
        key, equals, value = written.partition("=")
        if not equals:
            raise UsageError(f"--param {written!r} is not of the form name=value, such as {_example(question)}")
        if key in _FLAGS:
            raise UsageError(f"give {key} with {_FLAGS[key]}")
        given[key] = value
    return given


def _example(question: NamedQuery) -> str:
    own = [one for one in question.parameters if one.name not in _FLAGS]
    return f"{own[0].name}={own[0].default or '…'}" if own else "width=1 hour"


def _flag(parameter: Parameter) -> str:
    return _FLAGS.get(parameter.name, f"--param {parameter.name}=…")


def _list(questions: Sequence[NamedQuery], chosen: output.Output) -> None:
    if chosen.path is not None or chosen.format not in {Format.TABLE, Format.JSON}:
        raise UsageError("the list of questions is a table, or JSON with --json")
    if chosen.format is Format.JSON:
        echo(json.dumps([_as_json(question) for question in questions], indent=2, ensure_ascii=False))
        return
    console = Screen()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in ("query", "question", "parameters"):
        table.add_column(heading, no_wrap=heading == "query")
    for question in questions:
        table.add_row(text(question.name, "bold"), text(question.asks), text(_parameters(question)))
    console.print_table(table)
    echo("--from and --to choose the range; a parameter is given by --param name=value.")
    echo("recorder query vwap --pair BTC/USD --from 2025-11-10 --param width='15 minutes'")


def _parameters(question: NamedQuery) -> str:
    """Return the parameters other than the range, required ones first."""
    own = [one for one in question.parameters if _FLAGS.get(one.name) not in {"--from", "--to"}]
    own.sort(key=lambda one: one.default is not None)
    return ", ".join(_short(one) for one in own)


def _short(parameter: Parameter) -> str:
    flag = _FLAGS.get(parameter.name)
    if flag is not None:
        return flag if parameter.default is None else f"[{flag}]"
    return f"{parameter.name}=…" if parameter.default is None else f"[{parameter.name}={parameter.default}]"


def _as_json(question: NamedQuery) -> Mapping[str, object]:
    return {
        "name": question.name,
        "question": question.asks,
        "parameters": [
            {"name": one.name, "type": one.kind, "default": one.default, "help": one.help}
            for one in question.parameters
        ],
    }
