"""Logging: readable lines on a terminal, JSON for machines; repeated lines are counted instead of printed."""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import sys
import threading
from collections.abc import Iterable
from typing import Any, Final, Literal, TextIO

import structlog
from structlog import dev
from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter

from recorder.clock import Clock, SystemClock
from recorder.core.safe_text import printable
from recorder.ops.log_dedup import LogDedup, LogLine

_COLOURS: Final = {"warning": dev.YELLOW, "error": dev.RED, "critical": dev.RED}
_LEVEL_WIDTH: Final = len("warning")


def configure(
    style: Literal["console", "json"],
    *,
    level: int = logging.INFO,
    clock: Clock | None = None,
    to: TextIO | None = None,
) -> None:
    """Set up structlog for the whole process: times are UTC, and lines go to standard error or to the file ``to``."""
    people, stream = style == "console", to or sys.stderr
    watched = people and stream.isatty()  # only then are colours useful and the date known
    moment = "%H:%M:%S" if watched else "%Y-%m-%dT%H:%M:%SZ" if people else "iso"
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt=moment, utc=True),
    ]
    processors += (
        [ConsoleRenderer(columns=_columns(colours=watched), sort_keys=False, exception_formatter=_traceback)]
        if people
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[_Suppressor(processors, stream, clock or SystemClock())],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    atexit.unregister(_report_rest)
    atexit.register(_report_rest)


def report_suppressed(*, rest: bool = False) -> None:
    """Print the number of suppressed lines whose window is over. Any other log line triggers this too.

    With ``rest`` also those of the current window, because nothing follows them. The exit of the process does that too.
    """
    for processor in structlog.get_config()["processors"]:
        if isinstance(processor, _Suppressor):
            processor.tell(rest=rest)


def _report_rest() -> None:
    with contextlib.suppress(OSError, ValueError):  # no one reads the log any more
        report_suppressed(rest=True)


class _Suppressor:
    """Suppresses repeats, and renders lines to be printed with the ``processors``."""

    def __init__(self, processors: Iterable[structlog.typing.Processor], out: TextIO, clock: Clock) -> None:
        self._processors = list(processors)
        self._out = out
        self._clock = clock
        self._repeats = LogDedup()
        self._lock = threading.Lock()  # threads log too

    def __call__(self, _: object, name: str, line: structlog.typing.EventDict) -> str:
        """Return the lines to print. Raises DropEvent if there are none."""
        with self._lock:
            lines = self._repeats.add(name, line, self._clock.monotonic())
        if not lines:
            raise structlog.DropEvent
        return self._rendered(lines)

    def tell(self, *, rest: bool) -> None:
        """Print suppressed lines; with ``rest`` also those of the current window."""
        with self._lock:
            lines = self._repeats.rest() if rest else self._repeats.due(self._clock.monotonic())
        if lines:
            print(self._rendered(lines), file=self._out, flush=True)

    def _rendered(self, lines: Iterable[LogLine]) -> str:
        return "\n".join(self._line(level, dict(line)) for level, line in lines)

    def _line(self, level: str, line: dict[str, Any]) -> str:
        rendered: Any = line
        for processor in self._processors:
            rendered = processor(None, level, rendered)
        return str(rendered)


def _columns(*, colours: bool) -> list[Column]:
    """Return the columns of a readable line: time, level, event, pair, and all other fields."""
    dim, bold, plain = (dev.DIM, dev.BRIGHT, dev.RESET_ALL) if colours else ("", "", "")

    def bare(style: str) -> KeyValueColumnFormatter:
        return KeyValueColumnFormatter(None, style, plain, _shown)

    def level(key: str, value: object) -> str:  # noqa: ARG001 -- the same for each key
        return f"{_COLOURS.get(str(value), '') if colours else ''}{value:<{_LEVEL_WIDTH}}{plain}"

    return [
        Column("", KeyValueColumnFormatter(dim, "", plain, _quoted)),
        Column("timestamp", bare(dim)),
        Column("level", level),
        Column("event", bare(bold)),
        Column("pair", bare("")),
    ]


def _quoted(value: object) -> str:
    text = _shown(value)
    return f'"{text}"' if isinstance(value, str) and (" " in value or not value) else text


def _shown(value: object) -> str:
    """Return a value on one line: names and answers from the exchange must not forge lines or control a terminal."""
    return printable(str(value))


def _traceback(file: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    text = io.StringIO()
    # Without the values of variables, which rich would add and which may include a token.
    dev.plain_traceback(text, exc_info)
    file.write(printable(text.getvalue(), lines=True))
