"""The client of the private endpoints: signs and sends requests that read, one after the other.

Each request takes a nonce and its share of the counter under the lock of the key's record, and keeps the lock until the
answer. Errors are raised; :meth:`PrivateClient.patiently` repeats what may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import structlog
from yarl import URL

from recorder.account.credentials import Credentials
from recorder.account.exchange_time import ExchangeTime
from recorder.account.key_use import HeldKeyUse, KeyUseFile
from recorder.clock import Clock
from recorder.config import is_local
from recorder.core.backoff import GrowingDelay
from recorder.core.nonces import Allowance
from recorder.core.safe_text import without_credentials
from recorder.core.throttling import FIRST_PAUSE_S, LAST_PAUSE_S
from recorder.errors import (
    ExchangeError,
    InvalidKey,
    InvalidNonce,
    KeyRefused,
    RateLimited,
    RecorderError,
    Retry,
    StorageError,
    Unavailable,
)
from recorder.kraken import private_api, rest_api
from recorder.kraken.private_api import PrivateRequest
from recorder.net import http

_FIRST_S: Final = 1.0
_LAST_S: Final = 60.0
"""Waits between attempts that got no answer (API.md 3.1)."""

log = structlog.get_logger()


class PrivateClient:
    """POSTs private endpoints below ``base_url`` with a key. ``again`` is called before each repeated attempt."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        credentials: Credentials,
        use: KeyUseFile,
        *,
        allowance: Allowance,
        time: ExchangeTime,
        clock: Clock,
        again: Callable[[ExchangeError, float], None] = lambda _error, _delay_s: None,
    ) -> None:
        """Refuse an address at which others could read the key: raises KeyRefused."""
        url = urlsplit(base_url)
        if url.scheme != "https" and not is_local(url.hostname or ""):
            raise KeyRefused(
                "exchange.rest_url is no https:// address, and a key is sent to no other, whatever "
                "exchange.allow_plaintext permits"
            )
        self._session = session
        self._base = base_url.rstrip("/")
        self._credentials = credentials
        self._use = use
        self._allowance = allowance
        self._time = time
        self._clock = clock
        self._again = again

    async def patiently(self, request: PrivateRequest, *, attempts: int | None = None) -> bytes:
        """Return the result of a request, however long Kraken does not answer, or after so many ``attempts`` at most.

        Raises the error where repeating cannot help, or may lock the account out.
        """
        throttled, failing = GrowingDelay(FIRST_PAUSE_S, LAST_PAUSE_S), GrowingDelay(_FIRST_S, _LAST_S)
        made = 0
        while True:
            made += 1
            try:
                return await self.request(request)
            except ExchangeError as error:
                if error.retry is Retry.NEVER or made == attempts:
                    raise
                delay = throttled if isinstance(error, RateLimited) else failing
                delay_s = max(delay.failed(), error.retry_after_s or 0.0)
                self._again(error, delay_s)
                await self._clock.sleep(delay_s)

    async def request(self, request: PrivateRequest) -> bytes:
        """Return the result of a request. Raises ExchangeError; its text contains no part of the key."""
        await self._time.check()
        try:
            return await self._in_turn(request)
        except InvalidNonce:
            log.warning("nonce refused, another is tried", path=request.path)
        try:
            return await self._in_turn(request)
        except InvalidNonce:
            raise InvalidNonce(
                "Kraken has refused two nonces in a row. Either another tool or machine uses this key, which needs one "
                "of its own; or a machine was restored from an older state, or its clock was ahead when it last used "
                "the key. Make a new key for this recorder alone (`recorder account guide`): its history stays"
            ) from None

    async def _in_turn(self, request: PrivateRequest) -> bytes:
        """Wait until the counter allows the request, and send it."""
        while True:
            async with self._use.held() as held:
                use, now_ns = held.read(), self._clock.wall_ns()
                if use.refused == self._credentials.mark:
                    raise InvalidKey(
                        "Kraken refused this key before, and it is not tried again by itself, because that locks the "
                        "account out: correct it, or call `recorder account check`, which tries it once"
                    )
                wait_s = use.wait_s(request.cost, now_ns, self._allowance)
                if not wait_s:
                    return await self._send(request, held)
            await self._clock.sleep(wait_s)

    async def forgive(self) -> None:
        """Let a key be tried once more that Kraken has refused, because a person wants that."""
        async with self._use.held() as held:
            use = held.read()
            if use.refused:
                held.write(type(use)(use.nonce, use.counter, use.counted_ns))

    async def _send(self, request: PrivateRequest, held: HeldKeyUse) -> bytes:
        try:
            use = held.read().issued(request.cost, self._clock.wall_ns(), self._allowance)
        except OverflowError:
            raise StorageError("the last nonce of this key is the greatest there is: make another key") from None
        held.write(use)
        try:
            return await self._answered(request, use.nonce)
        except RateLimited:
            held.write(use.throttled(self._clock.wall_ns(), self._allowance))
            raise
        except InvalidKey:
            held.write(type(use)(use.nonce, use.counter, use.counted_ns, self._credentials.mark))
            raise

    async def _answered(self, request: PrivateRequest, nonce: int) -> bytes:
        body = request.body(nonce, self._credentials.otp(self._clock.wall_ns()))
        headers = {
            "API-Key": self._credentials.header,
            "API-Sign": self._credentials.sign(request.path, nonce, body),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        try:
            status, answer, received = await self._posted(request.path, body, headers)
            recv_ns, date_s = self._clock.wall_ns(), rest_api.seconds(received.get("Date"))
            return private_api.result(
                status,
                answer,
                request,
                retry_after_s=http.wanted_s(received, recv_ns),
                now_s=recv_ns / 1e9 if date_s is None else date_s,
            )
        except RecorderError as error:
            # What Kraken answers may repeat what was sent; nothing of it may reach a log.
            error.args = tuple(self._credentials.hidden(str(one)) for one in error.args)
            raise

    async def _posted(self, path: str, body: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        shown = f"{without_credentials(self._base)}{path}"
        url = URL(self._base + path, encoded=True)
        try:
            async with self._session.post(url, data=body.encode(), headers=headers) as response:
                return response.status, await http.whole_body(response), dict(response.headers)
        except TimeoutError as error:
            raise Unavailable(f"{shown} did not answer in time ({http.reason(error)})") from None
        except http.Redirected as error:
            raise Unavailable(f"{shown} answered {error}: check exchange.rest_url") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"cannot reach {shown}: {http.reason(error)}") from None
