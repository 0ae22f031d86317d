"""The command line: one module per verb, each imported only when it is called.

So the daemon (``recorder run``) never imports pandas or DuckDB, and every verb starts fast.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import gc
import importlib
import inspect
import io
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from recorder.cli.usage_errors import as_sentences, verbs_of
from recorder.core.safe_text import printable
from recorder.errors import DiskError, RecorderError
from recorder.version import __version__

_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as in shells. Only ``run`` treats Ctrl-C as a request to stop cleanly."""
VERBS: Final = (
    "look",
    "run",
    "serve",
    "backfill",
    "gaps",
    "verify",
    "merge",
    "import",
    "disown",
    "release",
    "status",
    "query",
    "sql",
    "views",
    "export",
    "book",
    "plot",
    "doctor",
    "config",
    "account",
    "sandbox",
    "demo",
)


_MODULES: Final = {"import": "import_history"}
"""Modules and functions that cannot have the name of their verb."""
_SETTINGS: Final = {"help_option_names": ["-h", "--help"]}


def _flowing(help_text: str | None) -> str | None:
    r"""Return a help text with one line for each paragraph, which the terminal breaks where it is narrow.

    >>> _flowing("First.\n\nOf two\nlines.")
    'First.\n\nOf two lines.'
    """
    if help_text is None:
        return None
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(help_text).split("\n\n"))


class _Verb(TyperCommand):
    def make_context(self, info_name: str | None, *given: Any, **options: Any) -> Any:  # noqa: ANN401 -- the library's
        with as_sentences(verb=f"{verbs_of(options.get('parent'))} {info_name}".strip()):
            return super().make_context(info_name, *given, **options)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 -- the library's signature
        self.help = _flowing(self.help)
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 -- the library's signature
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            if _reader_left():
                raise typer.Exit from None
            raise


class _Verbs(TyperGroup):
    def make_context(self, *given: Any, **options: Any) -> Any:  # noqa: ANN401 -- the library's signature
        with as_sentences():
            return super().make_context(*given, **options)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 -- the library's signature
        with as_sentences():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 -- the library's signature
        self.help = _flowing(self.help)
        super().format_help(ctx, formatter)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 -- the library's signature
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002
        if cmd_name not in VERBS:
            return None
        if cmd_name in {"run", "import", "account"}:
            # Arrow's own allocator never returns the peak memory of each thread. It is chosen once, when pyarrow is
            # loaded.
            os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
        if cmd_name == "run":
            # By default it would end the process before SIGHUP means "reload". It may also arrive while modules are
            # loaded.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            if not sys.stderr.isatty():
                _load_structlog_without_rich()
        name = _MODULES.get(cmd_name, cmd_name)
        with _loading():
            module = importlib.import_module(f"recorder.cli.{name}")
        if isinstance(group := getattr(module, name), typer.Typer):
            for one in group.registered_commands:
                one.cls, one.context_settings = _Verb, _SETTINGS
            found = typer.main.get_group(group)
            found.name = cmd_name
            return found
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(cmd_name, cls=_Verb, context_settings=_SETTINGS)(getattr(module, name))
        return typer.main.get_command(single)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            near = difflib.get_close_matches(args[0], VERBS, 3, 0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"there is no verb {printable(args[0])!r}{hint}")
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_Verbs, context_settings=_SETTINGS, pretty_exceptions_enable=False, no_args_is_help=True)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"kraken-recorder {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the release and exit.")
    ] = False,
) -> None:
    """Record Kraken's public trades, candles, quotes and books into plain Parquet: complete, exact and provable.

    Exit codes: 0 success, 1 a check failed, 2 usage or configuration, 3 another recorder holds the archive, 4 the disk,
    130 interrupted.
    """


def main() -> None:
    """Run the command line: the recorder's own errors become one message and their exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale without our dashes and arrows prints a ? instead of failing
            stream.reconfigure(errors="replace")
    try:
        app()
    except BaseExceptionGroup as group:  # from the daemon's tasks: the first one ended the others
        _end(_first(group))
    except Exception as error:  # noqa: BLE001 -- the last resort: report it, exit non-zero
        _end(error)


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """Collect no garbage while modules are loaded: that makes many objects, and nearly all of them stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load_structlog_without_rich() -> None:
    """Let structlog not find rich, which takes 5 MB of a daemon that nobody watches in a terminal."""
    if "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]  # what the import system takes for a missing module
        try:
            importlib.import_module("structlog")
        finally:
            del sys.modules["rich"]


def _reader_left() -> bool:
    """Return whether the reader of standard output is gone, as after ``| head``; nothing more is written then.

    The reader has what it wanted. An exit code of 1 would report a failed check.
    """
    output = select.poll()
    output.register(sys.stdout, 0)  # an error is reported whatever events are selected
    if not any(event & select.POLLERR for _, event in output.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _end(error: BaseException) -> None:
    if isinstance(error, RecorderError):
        _say(f"recorder: {error}")
        sys.exit(error.exit_code)
    if isinstance(error, OSError) and error.filename is not None:
        _say(f"recorder: {error.filename}: {error.strerror}")
        sys.exit(DiskError.exit_code)
    if isinstance(error, OSError) and error.errno in _DISK:  # for an open file, the system reports no name
        _say(f"recorder: cannot write: {error.strerror}")
        sys.exit(DiskError.exit_code)
    _say("".join(traceback.format_exception(error)).rstrip())
    _say("recorder: an unexpected error, please report it; what was recorded is safe on the disk")
    sys.exit(1)


def _say(text: str) -> None:
    # Like `screen.echo`, which loads rich: the daemon does not need it.
    typer.echo(printable(text, lines=True), err=True)
