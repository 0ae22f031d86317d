"""Private requests as values, their cost, and the errors of their answers (API.md 3, 4.2, 10.2).

Only requests that read are here. Sends nothing: ``account.client`` signs and sends what these functions describe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from recorder.errors import InvalidKey, InvalidNonce, PermissionDenied
from recorder.kraken import rest_api
from recorder.kraken.private_permissions import CLOSED, FUNDS, LEDGER

PAGE: Final = 50
"""Entries of one page of Ledgers, TradesHistory and ClosedOrders."""
NAMED: Final = 20
"""Entries that QueryLedgers and QueryTrades name at most."""


@dataclass(frozen=True, slots=True)
class PrivateRequest:
    """A POST of a private endpoint, without its nonce. ``cost`` is what it adds to the counter of the key.

    ``right`` is the permission that it needs; empty for none.
    """

    path: str
    params: tuple[tuple[str, str], ...] = ()
    cost: float = 1.0
    right: str = ""

    def body(self, nonce: int, otp: str | None = None) -> str:
        """Return the form to be sent, with the nonce first."""
        second = () if otp is None else (("otp", otp),)
        return urlencode((("nonce", str(nonce)), *self.params, *second))


def key_info() -> PrivateRequest:
    """Request what the key may do; every key may do that."""
    return PrivateRequest("/0/private/GetApiKeyInfo")


def ledgers(window: Window, offset: int) -> PrivateRequest:
    """Request a page of ledger entries, the newest first."""
    return PrivateRequest("/0/private/Ledgers", window.params(offset), cost=2.0, right=LEDGER)


def trades_history(window: Window, offset: int) -> PrivateRequest:
    """Request a page of own trades with the ledger entries of each; by default several would be joined into one."""
    params = (*window.params(offset), ("ledgers", "true"), ("consolidate_taker", "false"))
    return PrivateRequest("/0/private/TradesHistory", params, cost=2.0, right=CLOSED)


def closed_orders(window: Window, offset: int) -> PrivateRequest:
    """Request a page of orders by the time at which they were closed."""
    params = (*window.params(offset), ("closetime", "close"), ("consolidate_taker", "false"))
    # Whether it costs 1 or 2 is not known (API.md 4.2).
    return PrivateRequest("/0/private/ClosedOrders", params, cost=2.0, right=CLOSED)


def query_trades(ids: tuple[str, ...]) -> PrivateRequest:
    """Request up to :data:`NAMED` own trades by their ids: TradesHistory may lag behind a fill (API.md 16.3)."""
    return PrivateRequest("/0/private/QueryTrades", (("txid", ",".join(ids)),), cost=2.0, right=CLOSED)


def query_ledgers(ids: tuple[str, ...]) -> PrivateRequest:
    """Request up to :data:`NAMED` ledger entries by their ids."""
    return PrivateRequest("/0/private/QueryLedgers", (("id", ",".join(ids)),), cost=2.0, right=LEDGER)


def balances() -> PrivateRequest:
    """Request the balance of each asset, and what of it is held for orders."""
    return PrivateRequest("/0/private/BalanceEx", right=FUNDS)


@dataclass(frozen=True, slots=True)
class Window:
    """The range of a walk over pages, in whole seconds since 1970: after ``start_s`` and up to ``end_s``.

    ``start_s`` is None for everything. The end is fixed, so that hardly any new entries shift the pages.
    """

    start_s: int | None
    end_s: int

    def params(self, offset: int) -> tuple[tuple[str, str], ...]:
        """Return the parameters of the page that begins after ``offset`` newer entries."""
        start = () if self.start_s is None else (("start", str(self.start_s)),)
        return (*start, ("end", str(self.end_s)), ("ofs", str(offset)))


def result(status: int, body: bytes, request: PrivateRequest, *, retry_after_s: float | None, now_s: float) -> bytes:
    """Return the raw ``result`` of an answer. Raises its error, as ``rest_api.result`` does.

    InvalidNonce, InvalidKey and PermissionDenied are the errors of private requests alone.
    """
    for text in rest_api.failures(body) if status == 200 else ():
        if text.startswith("EAPI:Invalid nonce"):
            raise InvalidNonce("Kraken answered 'EAPI:Invalid nonce'")
        if text.startswith(("EAPI:Invalid key", "EAPI:Invalid signature")):
            what = "signature: its secret is" if "signature" in text else "key: it is"
            raise InvalidKey(
                f"Kraken did not accept the {what} wrong, or the key was deleted or has expired. It is not tried "
                "again, because repeated attempts lock the account out: check both halves, then call `recorder account "
                "check`"
            )
        if text.startswith("EGeneral:Permission denied"):
            raise PermissionDenied(
                f"Kraken answered 'EGeneral:Permission denied' to {request.path}: the key needs the right "
                f"{request.right or 'to call it'}, its second factor, or an IP allowlist with this machine's address"
            )
    return rest_api.result(status, body, retry_after_s=retry_after_s, now_s=now_s)
