"""What holds for every test: where its temporary folder lies, and what it may ask for."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.browser import FOUND, MISSING, Browser, browsing
from tests.builders import Shop, shop
from tests.clocks import ManualClock
from tests.fakes import Fakes
from tests.servers import Listen, Serve, deserted, listening, serving

# The same examples at every run, and no deadline: a shared machine is sometimes slow, and no test may be flaky.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("steady")

MEMORY = Path("/dev/shm")
ENOUGH = 2 << 30
"""Bytes free: the folders of all tests that are run at once take a tenth of it."""


def pytest_configure() -> None:
    """Keep temporary folders in memory where there is room: the suite takes half the time, and a slow disk none.

    What is durable is tested against a model of a disk that forgets (powercut.py), never by trusting a real one. And
    what is printed is no narrower in the processes of a parallel run, which are told a width, than in one.
    """
    os.environ.pop("COLUMNS", None)
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)
    keep_compiled()
    # Nobody here speaks TLS to anybody, and loading the system's certificates takes 50 ms of each process.
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull


def keep_compiled() -> None:
    """Compile each module once, also where the environment says to keep nothing compiled, as container images do.

    Tests start the recorder in some two hundred processes, each of which would compile all of it.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands."""
    return ManualClock()


@pytest.fixture
def fakes(clock: ManualClock) -> Fakes:
    """The context of a task that asks nobody."""
    return Fakes(clock=clock)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Shop]:
    """An archive in ``tmp_path``, opened for writing."""
    with shop(tmp_path) as archive:
        yield archive


@pytest.fixture
def serve() -> Serve:
    """Serve HTTP on loopback."""
    return serving


@pytest.fixture
def listen() -> Listen:
    """Serve raw bytes on loopback."""
    return listening


@pytest.fixture
async def nobody() -> str:
    """An address at which nobody listens."""
    return await deserted()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium; without one, the tests of pages are skipped."""
    if FOUND is None:
        pytest.skip(MISSING)
    with browsing(tmp_path_factory.mktemp("browser")) as running:
        yield running
