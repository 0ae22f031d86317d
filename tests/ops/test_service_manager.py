from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.ops.service_manager import READY, WATCHDOG, Notifier, status


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        yield listener


def test_messages_arrive_in_one_datagram(manager: socket.socket) -> None:
    Notifier({"NOTIFY_SOCKET": manager.getsockname()}).send(READY, status("recording\n3  pairs"))
    assert manager.recv(1000) == b"READY=1\nSTATUS=recording 3 pairs"


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="abstract sockets are Linux' own")
def test_an_abstract_name_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0recorder-test-{os.getpid()}")
        listener.settimeout(10)
        Notifier({"NOTIFY_SOCKET": f"@recorder-test-{os.getpid()}"}).send(WATCHDOG)
        assert listener.recv(1000) == b"WATCHDOG=1"


def test_without_a_manager_or_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).send(READY)
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send(READY)
    Notifier({"NOTIFY_SOCKET": "/" + "x" * 300}).send(READY)


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_heeded_where_it_is_meant_for_this_process(
    environ: dict[str, str], watchdog_s: float | None
) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/x", **environ}).watchdog_s == watchdog_s
    assert Notifier(environ).watchdog_s is None
