"""Numbers as the exchange prints them, read exactly, without floats."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from recorder.kraken import wire

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)


def exact_number(text: str) -> Decimal:
    """Read a number as the exchange prints it, exactly. Raises ValueError."""
    # Decimal itself would also accept white space, underscores and words.
    if len(text) > wire.NUMBER_LIMIT or not _NUMBER.fullmatch(text):
        raise ValueError(f"{quoted(text)} is no number")
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent that is far too large
        raise ValueError(f"{text!r} is no number that can be held") from None
    if not (int(number.as_tuple().exponent) >= -wire.EXPONENT_LIMIT and number.adjusted() <= wire.EXPONENT_LIMIT):
        raise ValueError(f"{text!r} is no number that can be held")
    return number


def whole_number(text: str) -> int:
    """Read a whole number. Raises ValueError."""
    if len(text) > wire.NUMBER_LIMIT or not _NUMBER.fullmatch(text):
        raise ValueError(f"{quoted(text)} is no number")
    return int(text)


def quoted(text: str) -> str:
    """Return input for a message, shortened: it may have any size."""
    return repr(text if len(text) <= wire.NUMBER_LIMIT else f"{text[: wire.NUMBER_LIMIT]}…")
