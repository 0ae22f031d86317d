"""Something to look at where there is no archive yet: a local exchange, recorded for some seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RECORDER = (sys.executable, "-m", "recorder")
EXCHANGE = ("sandbox", "--rate", "0.1", "--history", "4000", "--json")
"""Few trades a second, so that the history goes back to yesterday and further."""
PAIRS = ("BTC/USD", "ETH/EUR", "DOGE/USD")
SETTINGS = {
    "RECORDER_PAIRS": ",".join(PAIRS),
    "RECORDER_EXCHANGE__REQUESTS_PER_SECOND": "20",
    "RECORDER_OPS__PORT": "0",
}


def record(seconds: int = 2) -> str:
    """Record the local exchange, then fetch its history, into a new folder; return the folder. Needs no network."""
    data = Path(tempfile.mkdtemp(prefix="recorder-notebook-")) / "data"
    with subprocess.Popen([*RECORDER, *EXCHANGE], stdout=subprocess.PIPE, text=True) as exchange:
        assert exchange.stdout is not None
        try:
            urls = json.loads(exchange.stdout.readline())
            environ = {**SETTINGS, **{f"RECORDER_EXCHANGE__{name.upper()}": url for name, url in urls.items()}}
            _run("run", "--for", f"{seconds}s", "--data", str(data), environ=environ)
            _run("backfill", *PAIRS, "--from", "listing", "--data", str(data), environ=environ)
        finally:
            exchange.terminate()
    return str(data)


def _run(*arguments: str, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [*RECORDER, *arguments], env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
