"""Rules that decide from times and ids whether an acknowledged subscription is silent. Pure.

A subscription can be acknowledged and stay silent while heartbeats flow (API.md 8.1, 12), which looks just like a quiet
market. REST Ticker distinguishes the two: it shows price and quantity of the last trade, and counts today's trades as
ids do. Contains what the Ticker showed and the stream delivered at each check, and the judgement. Does not read clocks,
make requests, or know what fetches.

What the stream delivered is known by the highest id of a pair that it brought; fetched trades do not count. Each check
records that id twice: ``before`` is from some seconds before the request, so that every trade which a lagging answer
leaves out has a higher id, and ``after`` from some seconds after the answer, when the frames of all the trades that it
counts are in. Then, for a pair whose frames all arrive, with any delay shorter than these seconds:

- today's count minus the highest id is constant all day. So an answer's count minus ``after`` is at most the minimum of
  all earlier counts minus ``before``. A greater value counts trades that the stream did not deliver. Midnight lowers
  the count and with it that minimum; a count never rises by it.
- price, quantity or count move only if a trade came since ``before`` of the answer that first showed them.
- a trade that REST was found to have at one check has been delivered by the next.

Only an answer that differs from the last one of its pair adds information, because an equal one may be that very answer
from a cache. A count that falls is midnight or an old answer: it is accepted when it comes twice.

A pair that is behind twice without a frame between must be resubscribed. At its first check it may have been silent for
long, so that check counts as once. So does a check that finds frames since the last one, and a count beyond all of
them: the pair fell silent between the two, and its missing trades are fetched once the next check finds that nothing
came late. A resubscription, once the missed trades are fetched, discards the evidence: the next one needs new evidence,
and two more checks.

The first state of a pair may be short of trades already, and so may a day's first count: the account is unsettled. No
later change reveals these trades, so the first check that finds a quiet pair looks for them:

- the Ticker shows another last trade than the last one delivered, or one although none was: the pair is behind.
- both are equal, which two trades can be: the pair is in doubt, and REST is queried when there is time. If it has
  nothing newer, the count of this check and the highest id belong together, and the account is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from recorder.core.model import Trade
from recorder.kraken.ticker_quotes import Quote

LAG_S: Final = 5.0
"""``before`` is from this many seconds before the request: caches keep an answer for two (API.md 2)."""
GRACE_S: Final = 5.0
"""``after`` is from this many seconds after the answer: a frame needs a fraction of one to reach the journal."""
STRIKES: Final = 2
"""Number of times behind without a frame between after which the subscription counts as dead."""


@dataclass(frozen=True, slots=True)
class Behind:
    """A pair with undelivered trades: what ``moved`` (price, volume, count), and the highest id ``heard`` anyway.

    ``moved`` is empty if an id that was fetched after the last check has not been delivered since. ``again``: for the
    second time without a frame between, so that a new subscription is due as well.
    """

    pair: str
    moved: tuple[str, ...]
    heard: int
    again: bool


LastHeard = Callable[[str], Trade | None]
"""Returns the trade of a pair with the highest id that the stream brought; None if it brought none."""


@dataclass(slots=True)
class _Account:
    """The state of one pair: the last accepted quote, the highest id ``before`` it, and the highest id ``heard``.

    ``lead`` is the minimum of count minus ``before``; ``strikes`` the number of times it was behind since the last
    delivery, including the first check of all; ``fetched`` the highest id that was fetched for that. While it is not
    ``settled`` the lead may be too high; ``confirmed_id`` is the highest id delivered when REST was queried about that,
    ``tries`` the number of failed queries. ``shown`` is the last answer, accepted or not; ``quiet`` is whether
    nothing was delivered around it, and ``exact`` whether count and highest id of the last check belong together if
    nothing is missing.
    """

    quote: Quote
    before: int
    heard: int
    lead: int
    strikes: int = 1
    fetched: int = 0
    fallen: bool = False
    settled: bool = False
    confirmed_id: int = -1
    tries: int = 0
    shown: Quote | None = None
    quiet: bool = False
    exact: bool = False

    def judge(self, pair: str, quote: Quote, before: int, after: int, last: LastHeard) -> Behind | None:
        flows, self.heard = after > self.heard, max(self.heard, after)
        is_newer = quote.today >= self.quote.today or self.fallen
        if flows:
            self.strikes = int(is_newer and self._ahead(quote))
        self.fallen = not is_newer
        moved = self._moved(quote) if is_newer and not flows else ()
        self.quiet = before == self.heard
        # The same answer again may come from a cache, and be older than trades delivered meanwhile.
        self.exact = is_newer and self.quiet and (quote != self.shown or (self.exact and not flows))
        self.shown = quote
        if is_newer and quote != self.quote:
            self.settled &= quote.today >= self.quote.today
            self.quote, self.before = quote, before
            self.lead = min(self.lead, quote.today - before)
        moved = moved or self._differs(pair, last)
        if not moved and (flows or self.fetched <= self.heard):
            return None
        self.strikes += 1
        found = Behind(pair, moved, self.heard, self.strikes >= STRIKES)
        self.strikes %= STRIKES
        return found

    def begin(self, pair: str, last: LastHeard) -> Behind | None:
        """Judge by the first check."""
        self.shown = self.quote
        self.quiet = self.exact = self.before == self.heard
        differs = self._differs(pair, last)
        return Behind(pair, differs, self.heard, again=False) if differs else None

    @property
    def in_doubt(self) -> bool:
        return self.quiet and not self.settled and self.heard > self.confirmed_id

    def _differs(self, pair: str, last: LastHeard) -> tuple[str, ...]:
        """Return how the last trade of the Ticker differs from the last one delivered, if the pair is in doubt."""
        if not (self.exact and self.in_doubt):
            return ()
        trade = last(pair)
        if self.heard == 0:  # no snapshot came, as it does for each pair that has traded
            return ("price",) if self.quote.price else ()
        if trade is None or trade.trade_id != self.heard:
            return ()
        differs = {"price": trade.price != self.quote.price, "volume": trade.qty != self.quote.qty}
        return tuple(name for name, is_so in differs.items() if is_so)

    def _moved(self, quote: Quote) -> tuple[str, ...]:
        """Return what moved, if that reveals a trade that was not delivered."""
        ahead = self._ahead(quote)
        moved = {
            "price": quote.price != self.quote.price,
            "volume": quote.qty != self.quote.qty,
            "count": quote.today > self.quote.today or ahead,
        }
        if not ahead and self.heard != self.before:
            return ()
        return tuple(name for name, is_so in moved.items() if is_so)

    def _ahead(self, quote: Quote) -> bool:
        """Return whether the count is beyond all delivered trades."""
        return quote.today - self.heard > self.lead

    def answered(self, last_id: int) -> None:
        """Record that REST was queried, and that its newest id is ``last_id``."""
        self.confirmed_id = self.heard
        if last_id > self.heard:
            self.fetched = max(self.fetched, last_id)
        elif self.exact:
            self.settled, self.lead = True, self.quote.today - self.heard

    def believe(self) -> None:
        """Accept the present quote as equal to what was delivered: only changes count from now on."""
        self.strikes = self.fetched = 0
        self.lead = max(self.lead, self.quote.today - self.heard)


class SilentPairs:
    """Judges successive checks. An id of 0 means that nothing was delivered."""

    def __init__(self, last_heard: LastHeard) -> None:
        self._last_heard = last_heard
        self._accounts: dict[str, _Account] = {}

    def check(self, quotes: Mapping[str, Quote], before: Mapping[str, int], after: Mapping[str, int]) -> list[Behind]:
        """Return the pairs that are behind by this answer, given the highest ids delivered before and after it.

        A pair without a quote is not judged this time; one that is missing in ``after`` is forgotten.
        """
        for pair in self._accounts.keys() - after.keys():
            del self._accounts[pair]
        found: list[Behind | None] = []
        for pair, quote in quotes.items():
            if pair not in before or pair not in after:
                continue
            account = self._accounts.get(pair)
            if account is None:
                account = _Account(quote, before[pair], after[pair], quote.today - before[pair])
                self._accounts[pair] = account
                found.append(account.begin(pair, self._last_heard))
            else:
                found.append(account.judge(pair, quote, before[pair], after[pair], self._last_heard))
        return [behind for behind in found if behind is not None]

    def doubts(self) -> list[str]:
        """Return the pairs to query REST about when there is time, those with the fewest failed queries first.

        Pairs that the last check found behind may be among them.
        """
        doubts = [pair for pair, account in self._accounts.items() if account.in_doubt]
        return sorted(doubts, key=lambda pair: self._accounts[pair].tries)

    def fetched_tail(self, pair: str, last_id: int | None) -> bool:
        """Record that REST was queried for undelivered trades of a pair in doubt; return whether it had any.

        ``last_id`` is its newest id, None if the query failed.
        """
        account = self._accounts.get(pair)
        if account is None:
            return False
        if last_id is None:
            account.tries += 1
            return False
        account.answered(last_id)
        return last_id > account.heard

    def fetched(self, behind: Behind, last_id: int) -> None:
        """Record that REST was queried for newer trades, and that its newest id is ``last_id``.

        If nothing is newer than what was delivered, the pair was not behind, and its count was misleading. A new
        subscription discards all evidence so far.
        """
        account = self._accounts.get(behind.pair)
        if account is None:
            return
        account.answered(last_id)
        if behind.again or last_id <= behind.heard:
            account.believe()
