from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.core.backoff import WINDOW_ATTEMPTS, WINDOW_S, WORKED_S, Backoff, session_worked
from recorder.core.model import Trade
from recorder.kraken.channels import TRADES
from recorder.kraken.silence_rules import GRACE_S, LAG_S, Behind, SilentPairs
from recorder.kraken.ticker_quotes import Quote
from recorder.kraken.websocket_session import Hangup, Session
from tests.builders import trade
from tests.kraken.session_scripts import ack

PAIR = "BTC/USD"
EVERY = 60
LAG, GRACE = int(LAG_S), int(GRACE_S)


def quote(last: int, today: int) -> Quote:
    """What the ticker says after the trade with id ``last``; prices and quantities repeat, but not both at once."""
    return Quote(Decimal(last % 2), Decimal(last % 3), today)


def unknown(pair: str) -> Trade | None:
    """Return no trade: what is judged then is the Ticker alone."""
    return None


Look = tuple[int, int, int, int]
"""Last id and count that the ticker shows, and the highest ids heard before and after."""


def verdicts(*looks: Look) -> list[Behind | None]:
    """Return what each look ends with."""
    silence = SilentPairs(unknown)
    found: list[Behind | None] = []
    for last, today, before, after in looks:
        judged = silence.check({PAIR: quote(last, today)}, {PAIR: before}, {PAIR: after})
        found.append(judged[0] if judged else None)
    return found


def spelt(verdict: Behind | None) -> str:
    return "" if verdict is None else " ".join(verdict.moved) + (" again" if verdict.again else "")


# -- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([(10, 5, 10, 10)] * 4, ["", "", "", ""], id="a quiet market"),
        pytest.param([(10, 5, 10, 10), (11, 6, 11, 11), (13, 8, 13, 13)], ["", "", ""], id="all is heard"),
        pytest.param(
            [(10, 5, 10, 10), (11, 6, 10, 10)], ["", "price volume count again"], id="silent before the first look"
        ),
        pytest.param(
            [(10, 5, 10, 10), (11, 6, 11, 11), (12, 7, 11, 11), (13, 8, 11, 11)],
            ["", "", "price volume count", "price volume count again"],
            id="silent after the first look",
        ),
        pytest.param([(90, 9, 0, 0), (91, 10, 0, 0)], ["", "price volume count again"], id="nothing was ever heard"),
        pytest.param(
            [(10, 5, 10, 10), (16, 11, 10, 10)], ["", "count again"], id="equal price and volume, but a count"
        ),
        pytest.param([(10, 5, 10, 10), (11, 6, 10, 11)], ["", ""], id="the ticker ahead, the frame on its way"),
        pytest.param(
            [(10, 5, 10, 11), (11, 6, 11, 11), (11, 6, 11, 11)], ["", "", ""], id="the frame before the ticker shows it"
        ),
        pytest.param(
            [(9, 4, 9, 9), (10, 5, 10, 11), (11, 6, 11, 11)],
            ["", "", ""],
            id="the frame before a later ticker shows it",
        ),
        pytest.param(
            [(10, 5, 10, 10), (10, 5, 10, 12), (12, 7, 12, 12)], ["", "", ""], id="a cached answer, then the next"
        ),
        pytest.param(
            [(10, 5, 10, 10), (10, 5, 12, 12), (10, 5, 12, 12), (12, 7, 12, 12)],
            ["", "", "", ""],
            id="an answer cached for minutes",
        ),
        pytest.param(
            [(10, 5, 10, 10), (12, 7, 11, 11), (12, 7, 11, 11)],
            ["", "", "count again"],
            id="one heard and one unheard between two looks is found, and subscribed anew, at the next",
        ),
        pytest.param(
            [(10, 5, 10, 10), (12, 7, 11, 11), (13, 8, 13, 13)],
            ["", "", ""],
            id="one that is late without end, but comes",
        ),
        pytest.param(
            [(10, 5, 10, 10), (11, 6, 10, 10), (11, 6, 10, 10), (12, 7, 10, 10)],
            ["", "price volume count again", "count", "price volume count again"],
            id="behind again while nothing is fetched; a new subscription has two chances of its own",
        ),
        pytest.param(
            [(10, 5, 10, 10), (11, 6, 11, 11), (12, 7, 11, 11), (12, 7, 11, 11), (12, 7, 11, 11)],
            ["", "", "price volume count", "count again", "count"],
            id="still behind while nothing is fetched",
        ),
        pytest.param([(10, 5, 10, 10), (10, 0, 10, 10), (10, 0, 10, 10)], ["", "", ""], id="a quiet midnight"),
        pytest.param(
            [(10, 5, 10, 10), (11, 1, 11, 11), (12, 2, 12, 12), (13, 3, 13, 13)],
            ["", "", "", ""],
            id="a busy midnight",
        ),
        pytest.param(
            [(10, 5, 10, 10), (10, 0, 10, 10), (10, 0, 10, 10), (11, 1, 10, 10)],
            ["", "", "", "price volume count again"],
            id="unheard on the next day",
        ),
        pytest.param(
            [(10, 5, 10, 10), (10, 0, 10, 10), (10, 0, 10, 10), (12, 2, 11, 11), (12, 2, 11, 11)],
            ["", "", "", "", "count again"],
            id="one heard and one unheard on the next day",
        ),
        pytest.param(
            [(10, 5, 10, 10), (11, 1, 10, 10), (11, 1, 10, 10)],
            ["", "", "price volume again"],
            id="unheard around midnight: the count fell, the price moved",
        ),
        pytest.param(
            [(10, 5, 10, 10), (11, 6, 11, 11), (10, 5, 11, 11), (11, 6, 11, 11), (12, 7, 12, 12)],
            ["", "", "", "", ""],
            id="an older answer from another cache",
        ),
        pytest.param(
            [(10, 5, 10, 10), (11, 6, 11, 11), (10, 5, 11, 11), (12, 7, 12, 12), (11, 6, 12, 12), (12, 7, 12, 12)],
            ["", "", "", "", "", ""],
            id="older answers now and then",
        ),
        pytest.param(
            [(0, 0, 0, 0), (0, 0, 0, 0), (1, 1, 0, 0)],
            ["", "", "price volume count again"],
            id="the first trade of a new listing",
        ),
        pytest.param(
            [(10, 5, 10, 10), (12, 6, 12, 12), (15, 8, 15, 15), (16, 9, 15, 15)],
            ["", "", "", "price volume count"],
            id="ids that never existed",
        ),
        pytest.param(
            [(90, 50, 10, 90), (91, 51, 91, 91), (92, 52, 91, 91)],
            ["", "", "price volume count"],
            id="a start with little held",
        ),
    ],
)
def test_each_sequence_of_looks_ends_so(looks: list[Look], expected: list[str]) -> None:
    assert [spelt(verdict) for verdict in verdicts(*looks)] == expected


def look(silence: SilentPairs, last: int, today: int, heard: int) -> Behind | None:
    found = silence.check({PAIR: quote(last, today)}, {PAIR: heard}, {PAIR: heard})
    return found[0] if found else None


def behind_at(silence: SilentPairs, last: int, today: int, heard: int) -> Behind:
    found = look(silence, last, today, heard)
    assert found is not None
    return found


def streamed(last: int) -> SilentPairs:
    """Return the judge of a pair that was heard after its first look, up to this id, with 5 trades less today."""
    silence = SilentPairs(unknown)
    assert look(silence, last - 1, last - 6, last - 1) is None
    assert look(silence, last, last - 5, last) is None
    return silence


def test_fetched_trades_not_heard_by_the_next_check_cause_a_resubscription() -> None:
    silence = streamed(10)
    first = behind_at(silence, 11, 6, 10)
    silence.fetched(first, 11)
    second = behind_at(silence, 11, 6, 10)
    assert (first.again, second.again) == (False, True)


def test_a_trade_whose_frame_came_late_without_end_asks_for_nothing() -> None:
    silence = streamed(10)
    silence.fetched(behind_at(silence, 11, 6, 10), 11)
    assert look(silence, 11, 6, 11) is None
    assert look(silence, 11, 6, 11) is None
    assert not behind_at(silence, 12, 7, 11).again


def told(silence: SilentPairs, last: int, today: int, before: int, after: int) -> tuple[list[Behind], list[str]]:
    """Return whom a look finds behind, and who is in doubt after it."""
    return silence.check({PAIR: quote(last, today)}, {PAIR: before}, {PAIR: after}), silence.doubts()


def begun(heard: int) -> SilentPairs:
    """Return a judge to whom the stream brought this trade last."""
    return SilentPairs(
        lambda _: msgspec.structs.replace(trade(heard), price=quote(heard, 0).price, qty=quote(heard, 0).qty)
    )


def test_another_last_trade_at_the_first_check_means_the_pair_is_behind() -> None:
    silence = begun(10)
    assert told(silence, 14, 9, 10, 10)[0] == [Behind(PAIR, ("volume",), 10, again=False)]
    silence.fetched(Behind(PAIR, ("volume",), 10, again=False), 14)
    assert silence.doubts() == []
    assert [behind.again for behind in told(silence, 14, 9, 10, 10)[0]] == [True], "and nothing was heard since"


def test_a_traded_pair_without_a_snapshot_is_behind_at_its_first_check() -> None:
    assert told(SilentPairs(unknown), 9, 9, 0, 0)[0] == [Behind(PAIR, ("price",), 0, again=False)]
    assert told(SilentPairs(unknown), 0, 0, 0, 0) == ([], [PAIR])


def test_an_equal_last_trade_at_the_first_check_stays_in_doubt_until_rest_confirms() -> None:
    silence = begun(10)
    assert told(silence, 16, 11, 10, 10) == ([], [PAIR])
    assert not silence.fetched_tail(PAIR, None)
    assert told(silence, 16, 11, 10, 10) == ([], [PAIR])
    assert silence.fetched_tail(PAIR, 16), "it was behind"
    assert [behind.again for behind in told(silence, 16, 11, 10, 10)[0]] == [True]


def test_a_pair_that_trades_during_the_look_is_judged_at_a_quiet_one() -> None:
    silence = begun(10)
    assert told(silence, 14, 9, 9, 10) == ([], [])
    assert told(silence, 14, 9, 10, 10) == ([], [PAIR]), "the answer may be the same one, from a cache"
    assert silence.fetched_tail(PAIR, 14)


def test_who_could_not_be_asked_about_comes_after_the_others() -> None:
    silence = SilentPairs(unknown)
    pairs = {"A/USD": 10, "B/USD": 10}
    silence.check({pair: quote(10, 5) for pair in pairs}, pairs, pairs)
    assert not silence.fetched_tail("A/USD", None)
    assert silence.doubts() == ["B/USD", "A/USD"]
    assert not silence.fetched_tail("B/USD", 10)
    assert silence.doubts() == ["A/USD"]
    assert not silence.fetched_tail("C/USD", 10), "one that left meanwhile"


def test_a_renewal_that_brings_nothing_is_not_repeated_while_nothing_new_is_traded() -> None:
    silence = streamed(10)
    silence.fetched(behind_at(silence, 11, 6, 10), 11)
    second = behind_at(silence, 12, 7, 10)
    assert second.again
    silence.fetched(second, 12)
    for _ in range(20):
        assert look(silence, 12, 7, 10) is None
    third = behind_at(silence, 13, 8, 10)
    assert not third.again
    silence.fetched(third, 13)
    assert behind_at(silence, 13, 8, 10).again


def test_a_new_subscription_that_works_is_left_in_peace() -> None:
    silence = streamed(10)
    silence.fetched(behind_at(silence, 11, 6, 10), 11)
    second = behind_at(silence, 12, 7, 10)
    silence.fetched(second, 12)
    assert second.again
    for last in range(12, 20):
        assert look(silence, last, last - 5, last) is None


def test_a_count_that_rest_refutes_no_longer_makes_a_pair_suspect() -> None:
    silence = streamed(10)
    silence.fetched(behind_at(silence, 10, 6, 10), 10)
    assert look(silence, 10, 6, 10) is None
    wrong_again = behind_at(silence, 10, 7, 10)
    assert not wrong_again.again
    silence.fetched(wrong_again, 10)
    assert look(silence, 11, 8, 11) is None
    assert not behind_at(silence, 12, 9, 11).again


def test_a_pair_without_a_quote_is_judged_when_it_has_one_again() -> None:
    silence = SilentPairs(unknown)
    assert look(silence, 10, 5, 10) is None
    assert silence.check({}, {PAIR: 10}, {PAIR: 10}) == []
    assert look(silence, 11, 6, 10) is not None


def test_a_pair_that_left_is_forgotten_and_one_that_has_just_come_is_not_judged() -> None:
    silence = SilentPairs(unknown)
    assert look(silence, 10, 5, 10) is None
    assert silence.check({PAIR: quote(11, 6)}, {PAIR: 10}, {}) == []
    assert silence.check({PAIR: quote(11, 6)}, {}, {PAIR: 10}) == []
    assert look(silence, 12, 7, 10) is None
    silence.fetched(Behind("ETH/EUR", (), 1, again=False), 5)


def test_pairs_are_judged_each_by_its_own_account() -> None:
    silence = SilentPairs(unknown)
    before = {"A/USD": 10, "B/USD": 20, "C/USD": 30}
    assert silence.check({pair: quote(last, 5) for pair, last in before.items()}, before, before) == []
    after = {"A/USD": 11, "B/USD": 20, "C/USD": 30}
    found = silence.check({"A/USD": quote(11, 6), "B/USD": quote(21, 6), "C/USD": quote(30, 5)}, before, after)
    assert [(behind.pair, behind.heard) for behind in found] == [("B/USD", 20)]


# -- any interleaving -----------------------------------------------------------------------------------------------


@dataclass
class World:
    """One pair, second by second: when trades are made, when their frames arrive, and what each look is answered.

    ``steps`` are how much later, with how slow a frame, and with how many skipped ids each trade comes; ``answers``
    are a lag in seconds, or ``"cached"`` or ``"missing"``.
    """

    steps: list[tuple[int, int, int]]
    answers: list[int | str]
    silent_from: int | None = None
    midnight: int | None = None
    first_after: int = 0
    silent_until: int = 10**9
    now: int = 0
    known: int = 1000
    made: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    arrived: list[int | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        now, trade_id = self.first_after, 1000
        for later, slow, skipped in self.steps:
            now, trade_id = now + later, trade_id + 1 + skipped
            self.made.append(now)
            self.ids.append(trade_id)
            heard = self.silent_from is None or not self.silent_from <= now < self.silent_until
            self.arrived.append(now + slow if heard else None)

    def last_heard(self, pair: str) -> Trade:
        last, shown = self.heard(self.now + GRACE), quote(self.heard(self.now + GRACE), 0)
        return msgspec.structs.replace(trade(last), price=shown.price, qty=shown.qty)

    def heard(self, now: int) -> int:
        heard = [i for i, at in zip(self.ids, self.arrived, strict=True) if at is not None and at <= now]
        return max([1000, *heard])

    def newest(self, now: int) -> int:
        return max([1000, *(i for i, at in zip(self.ids, self.made, strict=True) if at <= now)])

    def told(self, until: int) -> Quote:
        shown = [(at, i) for at, i in zip(self.made, self.ids, strict=True) if at <= until]
        begin = self.midnight if self.midnight is not None and self.midnight <= until else -1
        return quote(shown[-1][1] if shown else 1000, 100 * (begin < 0) + sum(at >= begin for at, _ in shown))

    def looks(self, *, fetching: bool = True) -> list[tuple[int, bool, list[Behind]]]:
        """Return when each look was, whether it told anything new, and whom it found behind."""
        silence, last, found = SilentPairs(self.last_heard), None, []
        for number, answer in enumerate(self.answers):
            now = self.now = number * EVERY + LAG
            fresh = answer not in ("cached", "missing")
            if isinstance(answer, int):
                last = self.told(now - answer)
            quotes = {} if last is None or answer == "missing" else {PAIR: last}
            judged = silence.check(quotes, {PAIR: self.heard(now - LAG)}, {PAIR: self.heard(now + GRACE)})
            found.append((now, fresh, judged))
            if fetching:
                for behind in judged:
                    silence.fetched(behind, self.newest(now + GRACE))
                    self.known = self.newest(now + GRACE)
                for pair in silence.doubts():
                    silence.fetched_tail(pair, self.newest(now + GRACE))
                    self.known = self.newest(now + GRACE)
        return found


STEPS = st.lists(
    st.tuples(st.integers(0, 100) | st.integers(0, 6), st.integers(0, GRACE), st.sampled_from([0, 0, 0, 1])),
    max_size=40,
)
ANSWERS = st.lists(st.integers(0, LAG - 1) | st.sampled_from(["cached", "missing"]), min_size=2, max_size=25)


@settings(max_examples=150)
@given(STEPS, ANSWERS, st.none() | st.integers(0, 1500))
def test_a_pair_whose_frames_all_arrive_is_never_called_behind(
    steps: list[tuple[int, int, int]], answers: list[int | str], midnight: int | None
) -> None:
    world = World(steps, answers, midnight=midnight)
    assert [judged for _, _, judged in world.looks() if judged] == []


@given(STEPS, ANSWERS, st.integers(0, 1500))
def test_a_silent_pair_is_found_within_two_looks_after_its_first_unheard_trade(
    steps: list[tuple[int, int, int]], answers: list[int | str], silent_from: int
) -> None:
    """A look that was answered from a cache, or without the pair, is none. The first look is at a quiet moment."""
    world = World([(later, slow, 0) for later, slow, _ in steps], [0, *answers], silent_from, first_after=LAG + 1)
    unheard = [at for at in world.made if at >= silent_from]
    looks = world.looks()
    after = [now for now, fresh, _ in looks if fresh and unheard and now >= unheard[0]]
    if len(after) >= 2:
        assert any(judged for now, _, judged in looks if now <= after[1])
    assert not any(judged for now, _, judged in looks if not unheard or now < unheard[0])


@settings(max_examples=100)
@given(STEPS, st.integers(0, 1500), st.integers(0, 300), st.none() | st.integers(0, 1500))
def test_whatever_is_lost_is_held_two_looks_after_a_pair_went_quiet(
    steps: list[tuple[int, int, int]], silent_from: int, lasts: int, midnight: int | None
) -> None:
    """Also where frames got lost before the first look, and others came after those that were lost."""
    world = World(
        [(later, slow, 0) for later, slow, _ in steps], [], silent_from, midnight, silent_until=silent_from + lasts
    )
    ended = (world.made[-1] if world.made else 0) + LAG
    quiet_until = (midnight if midnight is not None and midnight > ended else ended) + 2 * EVERY + GRACE
    world.answers = [1] * (quiet_until // EVERY + 1)
    world.looks()
    assert max(world.known, world.heard(quiet_until)) == world.newest(quiet_until)


@given(STEPS, ANSWERS, st.integers(0, 1500))
def test_each_unheard_trade_is_found_within_two_checks(
    steps: list[tuple[int, int, int]], answers: list[int | str], silent_from: int
) -> None:
    world = World([(later, slow, 0) for later, slow, _ in steps], answers, silent_from)
    looks = world.looks(fetching=False)
    fresh = [now for now, is_fresh, _ in looks if is_fresh]
    # The look that shows the first one, or begins the account: from there on nothing is heard and nothing can hide.
    began = next((now for now in fresh if world.made and silent_from <= now - LAG and now - LAG >= 0), None)
    second = next((at for at in world.made if began is not None and at > began and at >= silent_from), None)
    after = [now for now in fresh if second is not None and now >= second]
    if len(after) >= 2:
        assert any(judged for now, _, judged in looks if now <= after[1])


@settings(max_examples=150)
@given(STEPS, ANSWERS, st.integers(0, 1500), st.none() | st.integers(0, 1500))
def test_a_silent_pair_is_subscribed_anew_at_the_second_look_at_the_latest(
    steps: list[tuple[int, int, int]], answers: list[int | str], silent_from: int, midnight: int | None
) -> None:
    """The first is the one that finds it; a look at which the Ticker leaves the pair out is none."""
    world = World(steps, [answer if answer != "missing" else 0 for answer in answers], silent_from, midnight)
    verdicts = [judged[0] if judged else None for _, _, judged in world.looks()]
    first = next((number for number, verdict in enumerate(verdicts) if verdict is not None), len(verdicts))
    assert any(verdict and verdict.again for verdict in verdicts[first : first + 2]) or first + 1 >= len(verdicts)


@settings(max_examples=100)
@given(STEPS, ANSWERS, st.integers(0, 1500))
def test_a_pair_silent_between_two_checks_is_resubscribed_at_the_second_that_shows_it(
    steps: list[tuple[int, int, int]], answers: list[int | str], silent_from: int
) -> None:
    """Though frames that came before that were heard since the look before. The first look is at a quiet moment."""
    world = World([(later, slow, 0) for later, slow, _ in steps], [0, *answers], silent_from, first_after=LAG + 1)
    unheard = next((at for at in world.made if at >= silent_from), None)
    shows = [
        number
        for number, answer in enumerate(world.answers)
        if isinstance(answer, int) and unheard is not None and number * EVERY + LAG - answer >= unheard
    ]
    renewed = [number for number, (_, _, judged) in enumerate(world.looks()) if judged and judged[0].again]
    assert len(shows) < 2 or (renewed and renewed[0] <= shows[1])


@settings(max_examples=150)
@given(STEPS, ANSWERS, st.none() | st.integers(0, 1500))
def test_a_never_heard_pair_is_resubscribed_when_found_but_not_at_the_first_check(
    steps: list[tuple[int, int, int]], answers: list[int | str], midnight: int | None
) -> None:
    world = World(steps, [0, *answers], silent_from=0, midnight=midnight)
    looks = [judged for _, _, judged in world.looks()]
    assert not any(behind.again for behind in looks[0])
    verdicts = [behind for judged in looks[1:] for behind in judged]
    assert all(verdict.again for verdict in verdicts[:1])


@settings(max_examples=150)
@given(STEPS, ANSWERS, st.integers(0, 1500))
def test_each_renewal_takes_a_trade_of_its_own_and_two_looks(
    steps: list[tuple[int, int, int]], answers: list[int | str], silent_from: int
) -> None:
    """Though the new subscriptions stay as silent, and bring no snapshot."""
    world = World(steps, answers, silent_from)
    looks = world.looks()
    renewed = [number for number, (_, _, judged) in enumerate(looks) if judged and judged[0].again]
    assert all(later - earlier >= 2 for earlier, later in pairwise(renewed))
    assert len(renewed) <= sum(at >= silent_from for at in world.made)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.floats(0.0, 60.0))
def test_subscriptions_that_stay_silent_for_good_never_cause_a_storm_of_connections(seed: int, phase_s: float) -> None:
    """The unluckiest exchange: it acknowledges once a connection, sends no trade, and ignores every renewal."""
    silence, backoff = SilentPairs(unknown), Backoff(Random(seed))
    attempts: list[float] = []
    renewals, now_s, trades = 0, 0.0, 0
    session: Session | None = None
    opened_s = again_s = 0.0
    while now_s < 4 * 3600:
        if session is None and now_s >= again_s:
            session, opened_s = Session(TRADES, [PAIR]), now_s
            attempts.append(now_s)
            session.opened(now_s)
            session.receive(ack(PAIR).encode(), now_s, received_ns=1)
        if session is not None and (now_s + phase_s) % EVERY < 1:
            trades += 1
            found = silence.check({PAIR: quote(trades, trades)}, {PAIR: 0}, {PAIR: 0})
            if found and found[0].again:
                renewals += 1
                session.drop([PAIR])
                session.add([PAIR], now_s)
        if session is not None:
            session.receive(b'{"channel":"heartbeat"}', now_s, received_ns=1)
            if any(isinstance(effect, Hangup) for effect in session.tick(now_s)):
                backoff.ended(worked=session_worked(now_s - opened_s, served=True))
                again_s, session = now_s + backoff.delay_s(), None
        now_s += 1.0
    assert renewals > 50
    assert len(attempts) > 50
    most = max(sum(start <= at < start + WINDOW_S for at in attempts) for start in attempts)
    assert most <= WINDOW_ATTEMPTS / 10
    assert WORKED_S < 2 * EVERY
