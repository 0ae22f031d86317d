"""The addresses that the recorder and its reader agree on."""

from __future__ import annotations

from typing import Final

API: Final = "/api/v1"
HISTORY: Final = "/history"
"""What the overview shows of the past; between the two processes only."""
PAIR: Final = "/pair/"
"""Followed by the name of a pair."""
ASK: Final = "/ask"
EVENTS: Final = "/events"
CERTIFICATES: Final = "/certificates"
STREAM: Final = f"{API}/trades/stream"
QUERY: Final = f"{API}/query"
