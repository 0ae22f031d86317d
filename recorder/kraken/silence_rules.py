"""Which pairs the exchange says have traded while we heard nothing: acknowledged subscriptions that are silent.

A subscription can be acknowledged and stay silent while heartbeats flow (API.md 8.1, 12), which looks just like a
quiet market. REST Ticker tells them apart: it shows price and quantity of the last trade, and counts today's trades
as ids do. Owns what was told and heard at each look, and the judgement. Refuses clocks, requests, and who fetches.

What was heard is known as the highest id of a pair that the stream brought; what was fetched was not heard. Each look
takes it twice: ``before`` is from some seconds before the question, so that every trade which a lagging answer leaves
out has a higher id, and ``after`` from some seconds after the answer, when the frames of all the trades that it counts
are in. Then, for a pair whose frames all arrive, and whatever is late within these seconds:

- today's count less the highest id is the same all day. So an answer's count less ``after`` is at most the least that
  any earlier count less ``before`` was. More than that counts trades that we have not heard. Midnight lowers the count
  and with it that least; a count never rises by it.
- price, quantity or count move only if something was heard since ``before`` of the answer that first showed them.
- what REST was found to have at one look has been heard by the next.

Only an answer that differs from the last one of its pair teaches, since an equal one may be that very answer from a
cache. A count that falls is the day's turn or an old answer: it is believed when it is told twice.

A pair that is behind twice without a frame between is to be subscribed anew. At its first look nobody can tell whether
it has been silent for long, so that counts as once. So does a look that meets frames since the last one, and a count
beyond all of them: the pair fell silent between the two, and what it lacks is fetched once the next look finds that
nothing came late. A renewal, once what was missed is fetched, uses up what was known:
the next one takes something new, and two more looks.

What an account begins with may be short of trades already, and so may a day's first count: the account is unsettled.
Nothing that moves tells of these trades, so they are sought at the first look that meets a quiet pair:

- the Ticker shows another last trade than the last one heard, or one where none was: the pair is behind.
- both are equal, which two trades can be: the pair is in doubt, and REST is asked when there is time. If it has nothing
  newer, the count of this look and the highest id belong together, and the account is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from recorder.core.model import Trade
from recorder.kraken.parse import Quote

LAG_S: Final = 5.0
"""``before`` is so many seconds from before the question: caches keep an answer for two (API.md 2)."""
GRACE_S: Final = 5.0
"""``after`` is so many seconds from after the answer: a frame's way to the journal takes a fraction of one."""
STRIKES: Final = 2
"""So many times behind without a frame between, and the subscription is taken for dead."""


@dataclass(frozen=True, slots=True)
class Behind:
    """A pair that traded unheard: what ``moved`` (price, volume, count), and the highest id ``heard`` nevertheless.

    Nothing ``moved`` where an id that was fetched after the last look has not been heard since. ``again``: for the
    second time without a frame between, so that a new subscription is due as well.
    """

    pair: str
    moved: tuple[str, ...]
    heard: int
    again: bool


LastHeard = Callable[[str], Trade | None]
"""Returns the trade of a pair with the highest id that the stream brought; None where it brought none."""


@dataclass(slots=True)
class _Account:
    """Of one pair: what was last told and believed, the highest id heard ``before`` that, and the highest ``heard``.

    ``lead`` is the least of count less ``before``, ``strikes`` how often it was behind since it was last heard, the
    first look of all included, and ``fetched`` the highest id that was fetched for that. While it is not ``settled``
    the lead may be too high; ``asked`` is what had been heard when REST was asked about that, ``tries`` how often it
    could not be. ``shown`` is the last answer, believed or not; ``quiet`` tells whether nothing was heard around it,
    and ``exact`` whether count and highest id of the last look belong together if nothing is missing.
    """

    quote: Quote
    before: int
    heard: int
    lead: int
    strikes: int = 1
    fetched: int = 0
    fallen: bool = False
    settled: bool = False
    asked: int = -1
    tries: int = 0
    shown: Quote | None = None
    quiet: bool = False
    exact: bool = False

    def judge(self, pair: str, quote: Quote, before: int, after: int, last: LastHeard) -> Behind | None:
        flows, self.heard = after > self.heard, max(self.heard, after)
        told = quote.today >= self.quote.today or self.fallen
        if flows:
            self.strikes = int(told and self._ahead(quote))
        self.fallen = not told
        moved = self._moved(quote) if told and not flows else ()
        self.quiet = before == self.heard
        # Once more the same answer may come from a cache, and be older than what was heard meanwhile.
        self.exact = told and self.quiet and (quote != self.shown or (self.exact and not flows))
        self.shown = quote
        if told and quote != self.quote:
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
        """Judge by the first look."""
        self.shown = self.quote
        self.quiet = self.exact = self.before == self.heard
        differs = self._differs(pair, last)
        return Behind(pair, differs, self.heard, again=False) if differs else None

    @property
    def in_doubt(self) -> bool:
        return self.quiet and not self.settled and self.heard > self.asked

    def _differs(self, pair: str, last: LastHeard) -> tuple[str, ...]:
        """Return in what the last trade by the Ticker is another one than the last one heard, if that is in doubt."""
        if not (self.exact and self.in_doubt):
            return ()
        trade = last(pair)
        if self.heard == 0:  # no snapshot came, as it does of each pair that has traded
            return ("price",) if self.quote.price else ()
        if trade is None or trade.trade_id != self.heard:
            return ()
        differs = {"price": trade.price != self.quote.price, "volume": trade.qty != self.quote.qty}
        return tuple(name for name, is_so in differs.items() if is_so)

    def _moved(self, quote: Quote) -> tuple[str, ...]:
        """Return what moved, if that tells of a trade that was not heard."""
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
        """Return whether the count is beyond all that was heard."""
        return quote.today - self.heard > self.lead

    def answered(self, last_id: int) -> None:
        """Take note that REST was asked, and that its newest id is ``last_id``."""
        self.asked = self.heard
        if last_id > self.heard:
            self.fetched = max(self.fetched, last_id)
        elif self.exact:
            self.settled, self.lead = True, self.quote.today - self.heard

    def believe(self) -> None:
        """Take what is told for no more than what was heard: only what is new counts from now on."""
        self.strikes = self.fetched = 0
        self.lead = max(self.lead, self.quote.today - self.heard)


class SilentPairs:
    """Judges look after look. Ids are 0 where nothing was heard."""

    def __init__(self, last_heard: LastHeard) -> None:
        self._last_heard = last_heard
        self._accounts: dict[str, _Account] = {}

    def check(self, quotes: Mapping[str, Quote], before: Mapping[str, int], after: Mapping[str, int]) -> list[Behind]:
        """Return the pairs that are behind by this answer, given the highest ids heard before and after it.

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
        """Return the pairs of which REST is to be asked when there is time: those first that were asked in vain least.

        Those that the last look found behind may be among them.
        """
        doubts = [pair for pair, account in self._accounts.items() if account.in_doubt]
        return sorted(doubts, key=lambda pair: self._accounts[pair].tries)

    def fetched_tail(self, pair: str, last_id: int | None) -> bool:
        """Take note that REST was asked for what a pair in doubt has newer than was heard; tell whether it had any.

        ``last_id`` is its newest id, None where it could not be asked.
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
        """Take note that REST was asked for what is newer, and that its newest id is ``last_id``.

        If nothing is newer than what was heard, the pair was not behind, and its count is not what it seemed. With a
        new subscription all that was told until now is dealt with.
        """
        account = self._accounts.get(behind.pair)
        if account is None:
            return
        account.answered(last_id)
        if behind.again or last_id <= behind.heard:
            account.believe()
