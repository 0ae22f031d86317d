"""Signatures of private requests (API.md 10.1): pure, from text to text."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final

_KEY: Final = re.compile(r"[A-Za-z0-9+/]{16,128}={0,2}", re.ASCII)
_SHORTEST_SECRET: Final = 32
"""Kraken's secrets have 64 bytes; a shorter one than this is a mistake in copying, or easily guessed."""


def is_key(text: str) -> bool:
    """Return whether this can be the public half of a key, which becomes a header."""
    return _KEY.fullmatch(text) is not None


def decoded_secret(text: str) -> bytes:
    """Return the bytes of a secret. Raises ValueError, whose text does not repeat any of it."""
    try:
        found = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("the secret is not base64") from None
    if len(found) < _SHORTEST_SECRET:
        raise ValueError("the secret is too short") from None
    return found


def signature(secret: bytes, path: str, nonce: str, body: str) -> str:
    """Return the header ``API-Sign`` of a request: ``body`` is exactly what is sent, and contains the nonce.

    >>> signature(bytes(64), "/0/private/Balance", "1", "nonce=1")[:12]
    'uWJrDtq+nW0N'
    """
    message = path.encode() + hashlib.sha256((nonce + body).encode()).digest()
    return base64.b64encode(hmac.new(secret, message, hashlib.sha512).digest()).decode()
