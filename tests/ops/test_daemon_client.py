from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import SecretStr

from recorder.config import OpsConfig
from recorder.ops.daemon_client import DaemonReply, query_daemon
from recorder.ops.health import HealthState
from recorder.ops.metrics import Metrics
from recorder.ops.server import Face, serve
from tests.ops.states import GOOD, TOKEN, with_
from tests.servers import free_port


@contextlib.asynccontextmanager
async def daemon(
    data: Path, state: HealthState = GOOD, more: Mapping[str, Any] = MappingProxyType({}), **ops: Any
) -> AsyncIterator[OpsConfig]:
    config = OpsConfig(port=free_port(), **ops)
    about = {"archive": str(data.resolve()), "version": "9.9", "since": "2026-11-20T18:00:00Z", "pairs": 3, **more}
    async with serve(config, Face(Metrics(), lambda: state, lambda: about)):
        yield config


async def asked(ops: OpsConfig, data: Path) -> DaemonReply | str:
    return await asyncio.to_thread(query_daemon, ops, data)


async def test_a_daemon_tells_whether_it_records_and_why_not(tmp_path: Path) -> None:
    async with daemon(tmp_path) as ops:
        assert await asked(ops, tmp_path) == DaemonReply(True, (), "9.9", "2026-11-20T18:00:00Z")
    async with daemon(tmp_path, with_(stopping=True), host="localhost") as ops:
        assert await asked(ops, tmp_path) == DaemonReply(False, ("it is stopping",), "9.9", "2026-11-20T18:00:00Z")


async def test_a_daemon_tells_for_how_long_it_leaves_the_exchange_alone(tmp_path: Path) -> None:
    async with daemon(tmp_path, more={"paused_s": {"connect": 540.5, "rest": 0.0}}) as ops:
        said = await asked(ops, tmp_path)
        assert isinstance(said, DaemonReply)
        assert said.paused_s == {"connect": 540.5}
    async with daemon(tmp_path, more={"paused_s": 5}) as ops:
        assert "is no recorder" in str(await asked(ops, tmp_path))


async def test_it_is_asked_with_its_token_and_from_here_where_it_is_exposed(tmp_path: Path) -> None:
    async with daemon(tmp_path, host="0.0.0.0", expose=True, token=SecretStr(TOKEN)) as ops:
        assert isinstance(await asked(ops, tmp_path), DaemonReply)
        said = await asked(ops.model_copy(update={"token": None}), tmp_path)
        assert isinstance(said, str)
        assert "wants its token" in said
        said = await asked(ops.model_copy(update={"token": SecretStr("another-token-of-ours")}), tmp_path)
        assert isinstance(said, str)
        assert "another" not in said


async def test_a_daemon_of_another_archive_is_not_taken_for_this_one_s(tmp_path: Path) -> None:
    async with daemon(tmp_path / "other") as ops:
        assert "records into another archive" in str(await asked(ops, tmp_path))


async def test_the_page_of_serve_is_named_for_what_it_is(tmp_path: Path) -> None:
    ops = OpsConfig(port=free_port())
    async with serve(ops, None):
        assert "the page of `recorder serve`, which records nothing" in str(await asked(ops, tmp_path))


async def test_where_none_answers_one_sentence_says_so(tmp_path: Path) -> None:
    assert "no daemon answers at 127.0.0.1:" in str(await asked(OpsConfig(port=free_port()), tmp_path))
    assert "ops.port is 0" in str(await asked(OpsConfig(port=0), tmp_path))
    assert "no daemon answers at no.such.host.invalid:9" in str(
        await asked(OpsConfig(host="no.such.host.invalid", port=9), tmp_path)
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{"archive":1}',
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_another_program_there_is_no_recorder(tmp_path: Path, answer: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as listener:
        said = await asked(OpsConfig(port=listener.sockets[0].getsockname()[1]), tmp_path)
    assert isinstance(said, str)
    assert "no recorder" in said or "no daemon answers" in said


def test_one_that_takes_the_call_and_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recorder.ops.daemon_client.TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = query_daemon(OpsConfig(port=listener.getsockname()[1]), tmp_path)
    assert "no daemon answers" in str(said)
