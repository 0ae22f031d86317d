"""What is odd in good answers on demand (API.md 6.4, 16.1): entries of the listing, absences, fields nobody knows.

Owns which of it is in force. Refuses what is said otherwise: ``rest`` prints it. All of it lasts until released.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from recorder.errors import UsageError
from recorder.sandbox.pairs import Pair


class ListingFaults:
    """What is in force."""

    def __init__(self) -> None:
        self._spoilt: dict[str, dict[str, str]] = {}
        self._doubles: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._lacking: dict[str, float] = {}
        self._beside: dict[str, str] = {}

    def spoil(self, symbol: str, field: str, text: str) -> None:
        """Let a field of a pair's entry be this JSON text, whatever it says: ``null``, ``"none"``, ``1E+900000000``."""
        self._spoilt.setdefault(symbol, {})[field] = text

    def double(self, symbol: str, key: str, **fields: Any) -> None:  # noqa: ANN401  # AssetPairs fields are of every type
        """List a pair once more under another key, with these fields changed, as a second venue would."""
        self._doubles.setdefault(symbol, {})[key] = fields

    def lack(self, symbol: str, n: int | None = None) -> None:
        """Let the next ``n`` listings (None: all) lack a pair, which trades on. Raises UsageError for a wild n."""
        if n is not None and n < 1:
            raise UsageError(f"{n} listings that lack {symbol}; it must be 1 or more")
        self._lacking[symbol] = math.inf if n is None else n

    def beside(self, name: str, text: str) -> None:
        """Put a field of this name, and this JSON text, beside the rows of every answer of Trades and OHLC."""
        self._beside[name] = text

    def release(self) -> None:
        """Stop all of it."""
        for quirks in (self._spoilt, self._doubles, self._lacking, self._beside):
            quirks.clear()

    def lacks(self, pair: Pair) -> bool:
        """Return whether a listing that is answered now lacks this pair; it is then one listing less that does."""
        left = self._lacking.get(pair.symbol, 0)
        if left:
            self._lacking[pair.symbol] = left - 1
        return left > 0

    def entries(self, pair: Pair, key: str, fields: Mapping[str, Any]) -> list[str]:
        """Print what is listed of a pair under ``key``: one entry, or one for each venue."""
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
        """Print what stands before the rows of an answer, each with its comma."""
        return "".join(f"{json.dumps(name)}:{text}," for name, text in self._beside.items())
