"""What the recorder and the process for quotes and books beside it tell each other: one line of JSON per message.

Down go configurations, by the standard input of the child: the first to begin with, later ones to be applied. Its end
means that the parent is gone. Up come states, by the standard output. The log has a line for itself: standard error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from recorder.config import PREFIX, Config

LINE_BYTES: Final = 1 << 20
"""Limit of a message; a configuration that names every pair of Kraken has 20 kB, the metrics 10."""

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_OF_ACCOUNT: Final = "KRAKEN_API_"
_OPS: Final = ("host", "port", "expose", "token")
"""What is only of the recorder's own server, the secret included."""


class State(msgspec.Struct, frozen=True):
    """What the child tells of itself: of how many pairs it records quotes and books, and its metrics as exposed."""

    pairs: int
    metrics: str
    books: int = 0


def encode_config(config: Config) -> bytes:
    """Return a configuration as a line. It may contain a proxy's password, so it is for a pipe and not an argument."""
    return config.model_dump_json(exclude={"ops": set(_OPS), "page": True}).encode() + b"\n"


def decode_config(line: bytes) -> Config:
    """Return the configuration of a line of :func:`encode_config`."""
    return Config(**json.loads(line))


def encode_state(state: State) -> bytes:
    """Return a state as a line."""
    return msgspec.json.encode(state) + b"\n"


def decode_state(line: bytes) -> State:
    """Return the state of a line. Raises msgspec.ValidationError, msgspec.DecodeError."""
    return msgspec.json.decode(line, type=State)


def environment(environ: Mapping[str, str], *, key: bool = False) -> dict[str, str]:
    """Return the environment of the child: without the keys of the configuration, which would override what is sent.

    The variables with the key of an account are only for the child that uses it.
    """
    left_out = (PREFIX,) if key else (PREFIX, _OF_ACCOUNT)
    return {name: value for name, value in environ.items() if not name.upper().startswith(left_out)}


def log_line(line: bytes) -> tuple[str, str, dict[str, Any]]:
    """Return level, event and fields of a line of the child's log; what is none is an error, such as a traceback."""
    try:
        fields = json.loads(line)
        fields.pop("timestamp")
        level, event = str(fields.pop("level")), str(fields.pop("event"))
    except (ValueError, KeyError, AttributeError, TypeError):
        return "error", line.decode(errors="replace").rstrip(), {}
    return level if level in _LEVELS else "error", event, fields
