from __future__ import annotations

import pytest

from recorder.errors import UsageError
from recorder.sandbox.listing_changes import MarketRegister
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.tape import Tape

ONE = pair_of("ONE/USD", pair_decimals=2, lot_decimals=8)
TWO = pair_of("TWO/USD", pair_decimals=2, lot_decimals=8)


@pytest.fixture
def register() -> MarketRegister:
    register = MarketRegister()
    tape = Tape(ONE)
    tape.append(5, price=100, qty=1, mark=0)
    register.fill({"ONE/USD": tape})
    return register


def symbols(register: MarketRegister) -> list[str]:
    return [pair.symbol for pair in register.listing.pairs]


def test_a_new_pair_is_listed_with_an_empty_tape(register: MarketRegister) -> None:
    assert len(register.enlist(TWO, now_ns=9)) == 0
    assert symbols(register) == ["ONE/USD", "TWO/USD"]
    assert register.listing.named("TWOUSD") == TWO


def test_a_delisted_pair_keeps_its_tape_and_goes_on_when_listed_again(register: MarketRegister) -> None:
    register.delist("ONE/USD")
    assert symbols(register) == []
    assert register.tapes["ONE/USD"].last_id == 1
    assert register.enlist(ONE, now_ns=9).last_id == 1
    assert symbols(register) == ["ONE/USD"]


def test_a_changed_pair_stays_in_its_place_with_its_tape(register: MarketRegister) -> None:
    register.enlist(TWO, now_ns=9)
    tape = register.relist("ONE/USD", ONE.changed(status="cancel_only"), now_ns=9)
    assert symbols(register) == ["ONE/USD", "TWO/USD"]
    assert register.listing["ONE/USD"].fields["status"] == "cancel_only"
    assert register.tapes["ONE/USD"] is tape


def test_a_rename_takes_the_trades_along(register: MarketRegister) -> None:
    register.relist("ONE/USD", ONE.changed(wsname="UNO/USD", altname="UNOUSD"), now_ns=9)
    assert symbols(register) == ["UNO/USD"]
    assert list(register.tapes) == ["UNO/USD"]
    assert register.tapes["UNO/USD"].last_id == 1
    assert register.listing.named("ONE/USD") is None
    assert register.listing["UNO/USD"].key == "ONEUSD"


def test_what_cannot_be_changed_is_refused_and_nothing_has_changed(register: MarketRegister) -> None:
    register.enlist(TWO, now_ns=9)
    listing = register.listing
    with pytest.raises(UsageError, match="ONE/USD is listed already; relist changes it"):
        register.enlist(ONE, now_ns=9)
    for refuse in (
        lambda: register.delist("NO/USD"),
        lambda: register.relist("NO/USD", TWO, now_ns=9),
    ):
        with pytest.raises(UsageError, match="lists no pair 'NO/USD'; it lists ONE/USD, TWO/USD"):
            refuse()
    with pytest.raises(UsageError, match="cannot be renamed to TWO/USD"):
        register.relist("ONE/USD", ONE.changed(wsname="TWO/USD"), now_ns=9)
    with pytest.raises(UsageError, match="has lot_decimals 8, not 5"):
        register.relist("ONE/USD", ONE.changed(lot_decimals=5), now_ns=9)
    assert register.listing is listing
