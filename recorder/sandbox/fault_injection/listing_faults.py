"""Unusual content in valid answers on demand (API.md 6.4, 16.1): listing entries, absences, unknown fields.

Contains which faults are active; ``rest`` prints the answers. All faults last until released.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from recorder.errors import UsageError
from recorder.sandbox.pairs import Pair


class ListingFaults:
    """The active faults."""

    def __init__(self) -> None:
        self._spoilt: dict[str, dict[str, str]] = {}
        self._doubles: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._lacking: dict[str, float] = {}
        self._beside: dict[str, str] = {}

    def spoil(self, symbol: str, field: str, text: str) -> None:
        """Replace a field of a pair's entry by any JSON text, such as ``null``, ``"none"``, ``1E+900000000``."""
        self._spoilt.setdefault(symbol, {})[field] = text

    def double(self, symbol: str, key: str, **fields: Any) -> None:  # noqa: ANN401  # AssetPairs fields are of every type
        """List a pair once more under another key, with these fields changed, as a second venue would."""
        self._doubles.setdefault(symbol, {})[key] = fields

    def lack(self, symbol: str, n: int | None = None) -> None:
        """Omit a pair from the next ``n`` listings (None: all). Raise UsageError for an invalid n.

        The pair continues trading.
        """
        if n is not None and n < 1:
            raise UsageError(f"{n} listings that lack {symbol}; it must be 1 or more")
        self._lacking[symbol] = math.inf if n is None else n

    def beside(self, name: str, text: str) -> None:
        """Add a field of this name and JSON text beside the rows of every answer of Trades and OHLC."""
        self._beside[name] = text

    def release(self) -> None:
        """Stop all faults."""
        for quirks in (self._spoilt, self._doubles, self._lacking, self._beside):
            quirks.clear()

    def lacks(self, pair: Pair) -> bool:
        """Return whether the current listing omits this pair, and count it against the remaining listings."""
        left = self._lacking.get(pair.symbol, 0)
        if left:
            self._lacking[pair.symbol] = left - 1
        return left > 0

    def entries(self, pair: Pair, key: str, fields: Mapping[str, Any]) -> list[str]:
        """Return the entries of a pair under ``key``: one, or one for each venue."""
        doubles = self._doubles.get(pair.symbol, {})
        spoilt = self._spoilt.get(pair.symbol, {})
        listed = {key: fields, **{other: {**fields, "altname": other, **more} for other, more in doubles.items()}}
        printed = []
        for name, content in listed.items():
            texts = {field: json.dumps(value, separators=(",", ":")) for field, value in content.items()}
            if name == key:
                texts |= spoilt
            body = ",".join(f"{json.dumps(field)}:{text}" for field, text in texts.items())
            printed.append(f"{json.dumps(name)}:{{{body}}}")
        return printed

    def fields(self) -> str:
        """Return the fields before the rows of an answer, each with its comma."""
        return "".join(f"{json.dumps(name)}:{text}," for name, text in self._beside.items())
