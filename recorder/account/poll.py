"""The rounds in which an account is read: new entries of each table, balances, and the certificate.

A round begins a day before what has been read: entries come late. It walks over the pages of each table from the oldest
to the newest, so that a kill at any moment costs only the pages that were not stored yet.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
import structlog

from recorder.account.client import PrivateClient
from recorder.account.store import AccountStore
from recorder.archive import account_certificate
from recorder.archive.account_tables import APART, LEDGER, ORDERS, TRADES
from recorder.archive.datasets import Dataset
from recorder.archive.parquet import SET_APART
from recorder.clock import Clock
from recorder.core.account import AccountEvent, ApartEntry
from recorder.core.account_trail import AccountCertificate, Break
from recorder.core.model import plain
from recorder.errors import (
    CorruptFile,
    ExchangeError,
    InvalidKey,
    InvalidNonce,
    KeyRefused,
    PermissionDenied,
    Refused,
    Retry,
)
from recorder.kraken import private_api, private_permissions, private_rows
from recorder.kraken.private_api import NAMED, PrivateRequest, Window
from recorder.kraken.private_paging import PageWalk
from recorder.kraken.private_permissions import KeyInfo
from recorder.kraken.private_rows import Page
from recorder.runtime.waiting import to_the_end

OVERLAP_S: Final = 86_400
"""How far each round begins before what has been read: fills have been missing from TradesHistory (API.md 16.3)."""
CLAIM_US: Final = 3_600_000_000
"""How far reading must have got to be recorded again: a start only repeats so much more, and events stay few."""
AHEAD_S: Final = 62
"""How far after the host's time a window ends: its clock may be a minute behind Kraken's, and ends are whole seconds.
An entry that would come after the end could be in the balances and not in the ledger."""
AROUND_S: Final = 3_600
"""How far around a break entries are requested again."""
DAILY_S: Final = 86_400.0
ROWS: Final = 1_000
"""Rows that are stored together: twenty pages, two minutes at the slowest tier."""
SETTLE: Final = 3
"""Attempts to get balances while no ledger entry comes."""
REQUESTS: Final = 10
"""Requests of one round for entries by their ids."""
BREAKS: Final = 5
"""Breaks whose surroundings one round requests again."""

_Result = TypeVar("_Result")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Feed:
    """A table that is read page by page: its request and its parser."""

    dataset: Dataset
    request: Callable[[Window, int], PrivateRequest]
    parse: Callable[[bytes], Page[Any]]
    time_of: Callable[[Any], int]


LEDGERS: Final = Feed(LEDGER, private_api.ledgers, private_rows.ledger_page, lambda row: row.time_us)
FILLS: Final = Feed(TRADES, private_api.trades_history, private_rows.trades_page, lambda row: row.time_us)
CLOSED: Final = Feed(ORDERS, private_api.closed_orders, private_rows.orders_page, lambda row: row.closed_us)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose entries these are: the fingerprint of the key, and the address of the exchange."""

    key: str
    exchange: str


class AccountPoll:
    """Reads one account into its store. ``certified`` is called after each round with its certificate."""

    def __init__(
        self,
        client: PrivateClient,
        store: AccountStore,
        clock: Clock,
        *,
        identity: Identity,
        allow_trading_key: bool = False,
        certified: Callable[[AccountCertificate], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._identity = identity
        self._allow = allow_trading_key
        self._certified = certified
        self._checked_s: float | None = None
        self._certificate: AccountCertificate | None = None
        self._looked: dict[str, float] = {}
        self._balances: dict[str, tuple[str, str, str]] = {}
        self._balances_s: float | None = None
        self._balances_entries = 0

    async def run(self, every_s: float) -> None:
        """Read the account again and again, until cancelled."""
        while True:
            try:
                await self.round()
            except ExchangeError as error:
                if error.retry is Retry.NEVER:
                    raise
                log.warning("account not read this time", reason=str(error))
            await self._clock.sleep(every_s)

    async def round(self) -> AccountCertificate:
        """Read what is new, and return the certificate of all that is stored.

        Raises KeyRefused if the key may do too much, InvalidKey, InvalidNonce, PermissionDenied, DiskError.
        """
        if self._checked_s is None or self._clock.monotonic() - self._checked_s >= DAILY_S:
            await self.check_key()
        added = 0
        for feed in (LEDGERS, FILLS, CLOSED):
            added += await self._read(feed)
        changed = await self._read_balances()
        if added or changed:
            await self._fetch_named_trades()
        elif self._certificate is not None:
            self._certified(self._certificate)
            return self._certificate
        found = await self._certify()
        if await self._look_again(found):
            await self._read_balances()
            found = await self._certify()
        await self._report(found)
        await self._compact()
        return found

    async def _compact(self) -> None:
        """Merge small files. One that cannot be read is left as it is, and recording goes on."""
        try:
            await _in_thread(self._store.compact)
        except (*SET_APART, CorruptFile) as error:
            log.error("compaction refused", of=str(self._store.layout.data), reason=str(error))

    async def check_key(self) -> KeyInfo:
        """Ask what the key may do, and record it. Raises KeyRefused if it may do too much, or too little."""
        info = private_permissions.parse(await self._client.patiently(private_api.key_info()))
        reason = private_permissions.refusal(info, allow_trading_key=self._allow)
        now_s = self._clock.wall_ns() / 1e9
        remarks = list(private_permissions.remarks(info, now_s, allow_trading_key=self._allow))
        if self._checked_s is None or reason is not None:
            detail = {one.topic: one.text for one in remarks}
            await self._event(
                AccountEvent.KEY,
                key=self._identity.key,
                exchange=self._identity.exchange,
                name=info.name,
                cut=info.is_cut,
                excess=info.excess,
                **detail,
            )
        for one in remarks:
            if one.level != "ok":
                log.warning("the key of the account", topic=one.topic, detail=one.text)
        if reason is not None:
            raise KeyRefused(reason)
        await self._check_identity()
        self._checked_s = self._clock.monotonic()
        return info

    async def _check_identity(self) -> None:
        """Raise KeyRefused if the folder holds another account: their entries would never form one trail."""
        stored = [row for row in await _in_thread(self._store.events, AccountEvent.KEY) if row.get("same")]
        if any(row["exchange"] != self._identity.exchange for row in stored):
            raise KeyRefused(
                f"the folder holds an account of {stored[-1]['exchange']}, and exchange.rest_url is another: name "
                "another folder by account.path"
            )
        if any(row["key"] == self._identity.key for row in stored):
            return
        newest = max(await _in_thread(self._store.entries), key=lambda one: one.seconds, default=None)
        if newest is not None and not await self._shows(newest.id):
            raise KeyRefused(
                f"this key does not show ledger entry {newest.id}, the newest in the folder, so it is of another "
                "account, or shows only a part: name another folder by account.path"
            )
        await self._event(AccountEvent.KEY, same=True, key=self._identity.key, exchange=self._identity.exchange)

    async def _shows(self, entry: str) -> bool:
        page = await self._named(private_api.query_ledgers((entry,)), LEDGER)
        return any(row.id == entry for row in page.rows)

    async def _named(self, request: PrivateRequest, dataset: Dataset) -> Page[Any]:
        """Return the entries of a request that names them; none if Kraken refuses it, as for an id it does not know."""
        try:
            result = await self._client.patiently(request)
        except (InvalidKey, InvalidNonce, PermissionDenied):
            raise
        except Refused as error:
            log.warning("entries not found by their ids", path=request.path, reason=str(error))
            return Page([])
        return private_rows.named_page(result, dataset.name)

    async def _read(self, feed: Feed) -> int:
        """Read everything of a table since what was read before; return how many entries are new."""
        until_us = await _in_thread(self._store.read_until_us, feed.dataset)
        start_s = None if until_us is None else until_us // 1_000_000 - OVERLAP_S
        return await self._walk(feed, Window(start_s, self._clock.wall_ns() // 1_000_000_000 + AHEAD_S), until_us)

    async def _walk(self, feed: Feed, window: Window, until_us: int | None, *, claims: bool = True) -> int:
        """Read the pages of a window; return how many entries are new. With ``claims``, record how far it got."""
        walk, waiting, added = PageWalk(), list[Any](), 0
        reached_us = claimed_us = until_us or 0
        while not walk.done:
            page = feed.parse(await self._client.patiently(feed.request(window, walk.offset)))
            walk.take([row.id for row in page.rows] + [one.digest for one in page.apart], page.count)
            await self._keep_apart(page.apart)
            waiting += page.rows
            if walk.joined:
                reached_us = max([reached_us, *map(feed.time_of, page.rows)])
            if walk.done or len(waiting) >= ROWS:
                added += await self._add(feed.dataset, waiting)
                waiting = []
                if claims and reached_us > claimed_us + CLAIM_US:
                    claimed_us = reached_us
                    await _in_thread(self._store.have_read, feed.dataset, claimed_us)
        return added

    async def _add(self, dataset: Dataset, rows: Sequence[Any]) -> int:
        added = await _in_thread(self._store.add, dataset, rows)
        if added.differing:
            by_id = {row.id: row for row in rows}
            raw = [by_id[one] for one in added.differing if one in by_id]
            kept = [private_rows.set_apart(dataset.name, row.id, row.raw, "differs from the stored one") for row in raw]
            if new := await self._keep_apart(kept):
                await self._event(AccountEvent.DIFFERS, table=dataset.name, ids=list(added.differing)[:NAMED], new=new)
        return added.new

    async def _keep_apart(self, entries: Sequence[ApartEntry]) -> int:
        if not entries:
            return 0
        added = await _in_thread(self._store.add, APART, entries)
        if added.new:
            log.warning("entries kept apart", entries=added.new, reason=entries[0].reason)
            await self._event(AccountEvent.APART, entries=added.new, reason=entries[0].reason)
        return added.new

    async def _fetch_named_trades(self) -> int:
        """Request trades that ledger entries name and that TradesHistory does not show yet."""
        held = self._store.ids(TRADES)
        entries = await _in_thread(self._store.entries)
        named = {one.refid for one in entries if one.type in {"trade", "margin"} and one.refid.startswith("T")}
        return await self._by_name(sorted(named.difference(held)), private_api.query_trades, TRADES)

    async def _fetch_absent_entries(self, found: AccountCertificate) -> int:
        """Request ledger entries that own trades name and that Ledgers does not show."""
        return await self._by_name(sorted({entry for _, entry in found.absent}), private_api.query_ledgers, LEDGER)

    async def _by_name(
        self, names: Sequence[str], request: Callable[[tuple[str, ...]], PrivateRequest], dataset: Dataset
    ) -> int:
        """Request entries by their ids, each once a day and so many in a round; return how many are new."""
        due, added = [name for name in names if self._is_due(name)][: NAMED * REQUESTS], 0
        for first in range(0, len(due), NAMED):
            wanted = tuple(due[first : first + NAMED])
            self._looked |= dict.fromkeys(wanted, self._clock.monotonic())
            page = await self._named(request(wanted), dataset)
            await self._keep_apart(page.apart)
            added += await self._add(dataset, page.rows)
        return added

    async def _look_again(self, found: AccountCertificate) -> int:
        """Request what lies around breaks once more; return how many entries were new."""
        added = await self._fetch_absent_entries(found)
        breaks = [one for one in found.breaks if one.entry and self._is_due(one.entry)][:BREAKS]
        if not breaks:
            return added
        self._looked |= dict.fromkeys((one.entry for one in breaks), self._clock.monotonic())
        times_s = {one.id: one.time_us // 1_000_000 for one in await _in_thread(self._store.entries)}
        for one in breaks:
            added += await self._walk(LEDGERS, _around(one, times_s), None, claims=False)
        return added

    def _is_due(self, name: str) -> bool:
        """Return whether something was not requested again within a day."""
        return self._clock.monotonic() - self._looked.get(name, -DAILY_S) >= DAILY_S

    async def _read_balances(self) -> bool:
        """Read the balances, and whether the ledger stood still meanwhile; return whether anything is new."""
        moved = False
        for _ in range(SETTLE):
            result = await self._client.patiently(private_api.balances())
            rows = private_rows.balances(result, self._clock.wall_ns() // 1000)
            settled = not await self._read(LEDGERS)
            if settled:
                break
            moved = True
        rows = [msgspec.structs.replace(row, settled=settled) for row in rows]
        content = {row.asset: (plain(row.balance), plain(row.held), str(settled)) for row in rows}
        now_s = self._clock.monotonic()
        is_recent = self._balances_s is not None and now_s - self._balances_s < DAILY_S
        entries = len(self._store.ids(LEDGER))
        if is_recent and content == self._balances and entries == self._balances_entries:
            return moved
        await _in_thread(self._store.add_balances, rows)
        self._balances, self._balances_s, self._balances_entries = content, now_s, entries
        return True

    async def _certify(self) -> AccountCertificate:
        return await _in_thread(account_certificate.certificate, self._store.layout)

    async def _report(self, found: AccountCertificate) -> None:
        """Report a certificate that differs from the one before."""
        before, self._certificate = self._certificate, found
        self._certified(found)
        if before is not None and _verdict(before) == _verdict(found):
            return
        lines = account_certificate.sentences(found)
        if found.is_reconciled:
            log.info("account reconciled", summary=lines[0])
            await self._event(AccountEvent.RECONCILED, lines=lines)
        elif found.breaks or found.absent:
            log.error("account not reconciled", summary=lines[0], entries=_places(found))
            await self._event(AccountEvent.BROKEN, lines=lines)

    async def _event(self, kind: AccountEvent, **detail: object) -> None:
        await _in_thread(functools.partial(self._store.event, kind, **detail))


def _around(one: Break, times_s: Mapping[str, int]) -> Window:
    """Return the window around a break, from the entry before it."""
    at_s = times_s[one.entry]
    return Window(times_s.get(one.after, at_s) - AROUND_S, at_s + AROUND_S)


def _places(found: AccountCertificate) -> list[str]:
    """Return where a certificate breaks, for a log: balances stay in the folder of the account."""
    return [*(one.entry or f"the end of {one.asset}" for one in found.breaks), *(one for _, one in found.absent)][
        :NAMED
    ]


def _verdict(found: AccountCertificate) -> tuple[object, ...]:
    return found.is_reconciled, found.ends is None, found.breaks, found.absent


async def _in_thread(work: Callable[..., _Result], *args: Any) -> _Result:  # noqa: ANN401 -- of whatever work takes
    """Do blocking work to its end, also if a stop is requested meanwhile: what it writes must not be torn away."""
    return await to_the_end(asyncio.to_thread(work, *args))
