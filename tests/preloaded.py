"""A process that has loaded the recorder and starts others as copies of itself: what takes time is to import.

It is run as a script. Each line that it reads is a request; the new process answers with its id, and runs the command
line from its beginning to its end. Its exit code is written to a file once it has ended.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import TypedDict


class Start(TypedDict):
    """A request."""

    arguments: list[str]
    cwd: str
    environ: dict[str, str]
    stdout: str
    stderr: str
    exit_code: str


LOADED = (
    "pyarrow.compute",
    "pyarrow.parquet",
    "recorder.app",
    "recorder.cli.backfill",
    "recorder.cli.doctor",
    "recorder.cli.merge",
    "recorder.cli.run",
    "recorder.cli.status",
    "recorder.sandbox.server",
)


def load() -> None:
    importlib.import_module("recorder.cli")._load_structlog_without_rich()
    for name in LOADED:
        importlib.import_module(name)


def serve() -> None:
    """Answer requests until there are no more, and exit; return in each new process."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    exit_codes: dict[int, Path] = {}
    requests = io.FileIO(0, closefd=False)  # unbuffered: what is not read yet, select sees
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            ended(exit_codes)
        if 0 in ready:
            line = requests.readline()
            if not line:
                sys.exit()
            start: Start = json.loads(line)
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(woken)
                os.close(wake)
                become(start)
                return
            exit_codes[child] = Path(start["exit_code"])


def ended(exit_codes: dict[int, Path]) -> None:
    """Write down the exit codes of the processes that have ended."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            path = exit_codes.pop(found[0])
            written = path.with_suffix(".part")
            written.write_text(str(os.waitstatus_to_exitcode(found[1])))
            written.rename(path)


def become(start: Start) -> None:
    """Turn this copy into the process that is wanted."""
    os.chdir(start["cwd"])
    os.environ.clear()
    os.environ.update(start["environ"])
    wanted = {0: os.devnull, 1: start["stdout"], 2: start["stderr"]}
    opened = {number: os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOCTTY) for number, path in wanted.items()}
    os.write(1, b"%d\n" % os.getpid())  # only now: who waits for it may close what it has opened
    for number, file in opened.items():
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = text(1, "strict"), text(2, "backslashreplace")
    sys.argv = ["recorder", *start["arguments"]]


def text(number: int, errors: str) -> io.TextIOWrapper:
    """Return a stream as an interpreter makes its own: what a terminal or a log shows is there line by line."""
    lines = number == 2 or os.isatty(number)
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), None, errors, None, lines)


if __name__ == "__main__":
    load()
    serve()
    importlib.import_module("recorder.cli").main()
