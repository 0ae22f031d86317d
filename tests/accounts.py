"""An invented account at a sandbox, and what records it, without a network: requests go straight to the answers."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from recorder.account import store
from recorder.account.client import PrivateClient
from recorder.account.credentials import KEY, SECRET, Credentials
from recorder.account.exchange_time import ExchangeTime
from recorder.account.key_use import KeyUseFile
from recorder.account.poll import AccountPoll, Identity
from recorder.account.store import AccountStore
from recorder.core.account_trail import AccountCertificate
from recorder.core.nonces import TIERS, Tier
from recorder.disk import Disk
from recorder.kraken import rest_api
from recorder.sandbox.private_account import PrivateAccount
from recorder.sandbox.private_rest import PrivateRest, SandboxKey
from tests.clocks import NOW_NS, ManualClock

NAME: Final = "q7Yk2m8Zr4Tt6Vb1Nc3Xd5Wf9Hg0JpLsQaEuRiOzPyKxMvBnCdFgHjKl"
PRIVATE: Final = base64.b64encode(bytes(range(64))).decode()
DAY_NS: Final = 86_400 * 10**9


def credentials(name: str = NAME, private: str = PRIVATE, **more: str) -> Credentials:
    return Credentials({KEY: name, SECRET: private, **more}, "a test")


def invented(*, trades: int = 30, others: int = 60, days: int = 30, late_ns: int = 0, seed: int = 1) -> PrivateAccount:
    """Return an account with a history up to an hour ago."""
    account = PrivateAccount(seed)
    end_ns = NOW_NS - 3600 * 10**9
    account.invent(trades=trades, others=others, start_ns=end_ns - days * DAY_NS, end_ns=end_ns, late_ns=late_ns)
    return account


class Bench:
    """A key of an account at the private endpoints, and a folder in which it is recorded."""

    def __init__(self, folder: Path, account: PrivateAccount, *, tier: Tier = "pro", **key: Any) -> None:
        self.folder, self.tier = folder, tier
        self.clock = ManualClock(eager=True, look_ns=1000)
        self.key = SandboxKey(NAME, PRIVATE, **key)
        self.rest = PrivateRest(account, [self.key])
        self.allow = False
        self.before: Callable[[str], None] = lambda _path: None
        """Is called before each request, with its path."""
        self.unixtime: Callable[[], int] = lambda: self.clock.wall_ns() // 10**9
        self.requests: list[str] = []
        self.disk = Disk()

    def client(self, key: Credentials | None = None) -> PrivateClient:
        """Return a client whose requests are answered here."""
        bench, used = self, key or credentials()

        class Direct(PrivateClient):
            async def _posted(self, path: str, body: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
                bench.before(path)
                bench.requests.append(f"{path}?{body}")
                method = path.rpartition("/")[2]
                return 200, bench.rest.answer(method, headers, body, now_ns=bench.clock.wall_ns()).encode(), {}

        async def time(_: rest_api.Request) -> bytes:
            return b'{"unixtime":%d}' % bench.unixtime()

        return Direct(
            None,  # type: ignore[arg-type]  # nothing is sent
            "http://127.0.0.1",
            used,
            KeyUseFile(self.folder / "keys", used.fingerprint, Disk(), self.clock),
            allowance=TIERS[self.tier],
            time=ExchangeTime(time, self.clock),
            clock=self.clock,
        )

    @contextlib.contextmanager
    def opened(self) -> Iterator[AccountStore]:
        with store.opened(self.folder / "account", self.disk, lambda: self.clock.wall_ns() // 1000) as opened:
            yield opened

    async def round(self, key: Credentials | None = None) -> AccountCertificate:
        """Start, read the account once, and end."""
        with self.opened() as opened:
            used = key or credentials()
            identity = Identity(used.fingerprint, "127.0.0.1")
            poll = AccountPoll(self.client(used), opened, self.clock, identity=identity, allow_trading_key=self.allow)
            return await poll.round()
