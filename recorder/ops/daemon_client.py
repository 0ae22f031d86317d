"""Client for the status of a daemon on this machine."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from recorder.config import OpsConfig
from recorder.ops.server import READY, SERVER

TIMEOUT_S: Final = 2.0
"""Timeout: a daemon answers in milliseconds, and one that takes longer should be reported."""
LONGEST: Final = 65_536
"""Limit of an answer in bytes; a real one has some hundreds."""
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- how to reach a server on all addresses


@dataclass(frozen=True, slots=True)
class DaemonReply:
    """A daemon's own status: whether it records, why not, and since when it runs (ISO 8601 UTC).

    ``paused_s`` is how many seconds it will not contact the exchange, by kind of contact. ``quotes`` is the state of
    the process that records quotes: running, held (the disk is low), pairs, and ends that nobody asked for;
    ``account`` that of the one that records an account: running, refused (its key is, until the next start), and ends.
    Both are None where there is to be no such process.
    """

    recording: bool
    reasons: tuple[str, ...]
    version: str
    since: str
    paused_s: Mapping[str, float] = field(default_factory=dict)
    quotes: Mapping[str, Any] | None = None
    account: Mapping[str, Any] | None = None


def query_daemon(ops: OpsConfig, data: Path) -> DaemonReply | str:
    """Return the status of the daemon of the archive at ``data``; a sentence if no such daemon answers."""
    where = f"{ops.host}:{ops.port}"
    if ops.port == 0:
        return "no daemon was queried: ops.port is 0"
    headers = {} if ops.token is None else {"Authorization": f"Bearer {ops.token.get_secret_value()}"}
    connection = http.client.HTTPConnection(_ANYWHERE.get(ops.host, ops.host), ops.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", READY, headers=headers)
        answer = connection.getresponse()
        status, body = answer.status, answer.read(LONGEST)
        server = answer.getheader("Server")
    except ConnectionRefusedError:
        return f"no daemon answers at {where}"
    except (OSError, http.client.HTTPException) as error:
        return f"no daemon answers at {where} ({error or type(error).__name__})"
    finally:
        connection.close()
    if status == 401:
        return f"a daemon at {where} wants its token: set RECORDER_OPS__TOKEN"
    if status == 404 and server == SERVER:
        return f"what answers at {where} is the page of `recorder serve`, which records nothing"
    return _read(body, where, data)


def _read(body: bytes, where: str, data: Path) -> DaemonReply | str:
    try:
        content: dict[str, Any] = json.loads(body)
        archive = Path(content["archive"])
        found = DaemonReply(
            content["status"] == "recording",
            tuple(map(str, content["reasons"])),
            str(content["version"]),
            str(content["since"]),
            {str(what): float(paused_s) for what, paused_s in content.get("paused_s", {}).items() if paused_s},
            *(None if content.get(name) is None else dict(content[name]) for name in ("quotes", "account")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"what answers at {where} is no recorder"
    if archive != data.resolve():
        return f"the daemon at {where} records into another archive, {archive}"
    return found
