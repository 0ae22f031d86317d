"""Asking a daemon on this machine how it is."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from recorder.config import OpsConfig
from recorder.ops.server import READY

TIMEOUT_S: Final = 2.0
"""It answers in milliseconds; one that does not within this is worth saying."""
LONGEST: Final = 65_536
"""Bytes of an answer that are read; a real one has some hundreds."""
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- where such a server is reached from here


@dataclass(frozen=True, slots=True)
class DaemonReply:
    """What a daemon says of itself: does it record, why not, and since when it runs (ISO 8601 UTC).

    ``paused_s`` is for how many seconds it leaves the exchange alone, by what it does not do meanwhile.
    """

    recording: bool
    reasons: tuple[str, ...]
    version: str
    since: str
    paused_s: Mapping[str, float] = field(default_factory=dict)


def query_daemon(ops: OpsConfig, data: Path) -> DaemonReply | str:
    """Return what the daemon of the archive at ``data`` says; a sentence where none of it answers."""
    where = f"{ops.host}:{ops.port}"
    if ops.port == 0:
        return "no daemon was asked: ops.port is 0"
    headers = {} if ops.token is None else {"Authorization": f"Bearer {ops.token.get_secret_value()}"}
    connection = http.client.HTTPConnection(_ANYWHERE.get(ops.host, ops.host), ops.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", READY, headers=headers)
        answer = connection.getresponse()
        status, body = answer.status, answer.read(LONGEST)
    except ConnectionRefusedError:
        return f"no daemon answers at {where}"
    except (OSError, http.client.HTTPException) as error:
        return f"no daemon answers at {where} ({error or type(error).__name__})"
    finally:
        connection.close()
    if status == 401:
        return f"a daemon at {where} wants its token: set RECORDER_OPS__TOKEN"
    return _read(body, where, data)


def _read(body: bytes, where: str, data: Path) -> DaemonReply | str:
    try:
        said: dict[str, Any] = json.loads(body)
        archive = Path(said["archive"])
        found = DaemonReply(
            said["status"] == "recording",
            tuple(map(str, said["reasons"])),
            str(said["version"]),
            str(said["since"]),
            {str(what): float(paused_s) for what, paused_s in said.get("paused_s", {}).items() if paused_s},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"what answers at {where} is no recorder"
    if archive != data.resolve():
        return f"the daemon at {where} records into another archive, {archive}"
    return found
