from __future__ import annotations

import socket

import aiohttp
import pytest

from recorder.errors import ConfigError
from recorder.ops.metrics import Metrics
from recorder.ops.server import serve


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def test_health_and_metrics_are_served_and_nothing_else() -> None:
    metrics, port = Metrics(), free_port()
    metrics.frames.inc(3)
    async with serve("127.0.0.1", port, metrics=metrics), aiohttp.ClientSession() as client:
        async with client.get(f"http://127.0.0.1:{port}/health") as answer:
            assert await answer.json() == {"status": "alive"}
        async with client.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert "recorder_frames_total 3.0" in await answer.text()
        async with client.get(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 404


async def test_a_port_that_is_taken_is_a_configuration_error_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"ops.port is {port}.*choose another, or 0"):
            async with serve("127.0.0.1", port, metrics=Metrics()):
                pass


async def test_port_0_serves_nothing() -> None:
    async with serve("no such host", 0, metrics=Metrics()):
        pass
