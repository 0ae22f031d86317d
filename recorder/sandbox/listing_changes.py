"""The current listing of a market, and the tapes of all pairs ever listed.

Contains changes of the listing while the exchange serves (API.md 6.4: in seven weeks 107 pairs appeared, 3 vanished,
and digits moved on others). Does not trade. A tape outlives its listing: a pair that is listed again continues with the
next id (unless it is renumbered), and a renamed one keeps its trades.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from recorder.errors import UsageError
from recorder.sandbox.pairs import Pair, SandboxListing, some
from recorder.sandbox.tape import Tape


class MarketRegister:
    """The listing, and the tapes by v2 symbol. Every change makes a new listing."""

    def __init__(self) -> None:
        self.listing = SandboxListing(())
        self._tapes: dict[str, Tape] = {}

    @property
    def tapes(self) -> Mapping[str, Tape]:
        """v2 symbol → everything traded so far; includes pairs no longer listed."""
        return MappingProxyType(self._tapes)

    def fill(self, tapes: Mapping[str, Tape]) -> None:
        """List the pairs of these tapes, in this order, and nothing else."""
        self._tapes = dict(tapes)
        self.listing = SandboxListing(tape.pair for tape in tapes.values())

    def enlist(self, pair: Pair, *, now_ns: int) -> Tape:
        """List a new pair, or again a former one; return its tape. Raise UsageError if it is listed."""
        if pair.symbol in self.listing:
            raise UsageError(f"{pair.symbol} is listed already; relist changes it")
        tape = self._tapes.get(pair.symbol)
        if tape is None:
            tape = self._tapes[pair.symbol] = Tape(pair)
        else:
            _check_scale(tape, pair)
            tape.relist(pair, at_ns=now_ns)
        self.listing = SandboxListing([*self.listing.pairs, pair])
        return tape

    def delist(self, symbol: str) -> None:
        """Remove a pair from the listing. Raise UsageError if it is not listed."""
        self._listed(symbol)
        self.listing = SandboxListing(pair for pair in self.listing.pairs if pair.symbol != symbol)

    def relist(self, symbol: str, pair: Pair, *, now_ns: int) -> Tape:
        """Replace the listed ``symbol`` by ``pair``, perhaps under another symbol; return its tape."""
        self._listed(symbol)
        if pair.symbol != symbol and pair.symbol in self._tapes:
            raise UsageError(f"{symbol} cannot be renamed to {pair.symbol}: that name has trades of its own")
        tape = self._tapes[symbol]
        _check_scale(tape, pair)
        tape.relist(pair, at_ns=now_ns)
        self._tapes[pair.symbol] = self._tapes.pop(symbol)
        self.listing = SandboxListing(pair if one.symbol == symbol else one for one in self.listing.pairs)
        return tape

    def renumber(self, symbol: str) -> Tape:
        """Return a new tape for a listed pair, numbered from 1; the old tape is gone."""
        self._listed(symbol)
        tape = self._tapes[symbol] = Tape(self.listing[symbol])
        return tape

    def _listed(self, symbol: str) -> None:
        if symbol not in self.listing:
            raise UsageError(f"the sandbox lists no pair {symbol!r}; it lists {some(self.listing)}")


def _check_scale(tape: Tape, pair: Pair) -> None:
    if pair.lot_decimals != tape.qty_digits:
        raise UsageError(
            f"{tape.pair.symbol} has lot_decimals {tape.qty_digits}, not {pair.lot_decimals}; the sandbox changes "
            "prices, names and status, not the scale of quantities"
        )
