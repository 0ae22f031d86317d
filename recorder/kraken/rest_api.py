"""REST requests as values, and answers as results or typed errors (API.md 2, 3, 6).

Sends nothing: ``net.http`` sends what these functions describe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlencode

import msgspec

from recorder.core.model import CURRENCY, TIMEFRAMES, Instrument
from recorder.errors import ExchangeError, Forbidden, Malformed, RateLimited, Refused, Unavailable, UnknownPair
from recorder.kraken import wire

PAGE_LIMIT: Final = 1000
"""Maximum rows of one Trades answer; larger counts are silently capped (API.md 6.7)."""
LOCKOUT_S: Final = 900.0
"""A temporary lockout ends after about 15 minutes of silence (API.md 3.1)."""
QUOTE_LIMIT: Final = 300
"""Maximum characters of an error text in a message; an answer may have any size."""
LIST_LIMIT: Final = 2000
"""Maximum characters of a URL with a list of pairs, some 180 pairs: a list of all of them drew HTTP 520 (API.md
6.5)."""

_KRAKENS = re.compile(r"[EW][A-Za-z]+:")
_UNTIL = re.compile(r"(\d{1,12})", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Request:
    """A GET of a public endpoint."""

    path: str
    params: tuple[tuple[str, str], ...] = ()

    @property
    def target(self) -> str:
        """Path and query as sent, also the source of the answer in the journal."""
        return f"{self.path}?{urlencode(self.params)}" if self.params else self.path


def asset_pairs(asset_class: str = CURRENCY) -> Request:
    """Request the whole listing (0.8 MB) of an asset class; the default one contains no other (API.md 16.1)."""
    return Request("/0/public/AssetPairs", () if asset_class == CURRENCY else (("aclass_base", asset_class),))


def trades(instrument: Instrument, *, since_ns: str | None = None, count: int = PAGE_LIMIT) -> Request:
    """Request up to ``count`` trades from ``since_ns`` (nanoseconds since 1970, as text) on; None: the newest.

    Only nanoseconds are exact: the unit is guessed from the magnitude, and fractions of seconds are imprecise.
    """
    since = () if since_ns is None else (("since", since_ns),)
    params = (("pair", instrument.altname), *since, ("count", str(count)), *_named(instrument.asset_class))
    return Request("/0/public/Trades", params)


def ohlc(instrument: Instrument, timeframe: str, *, since_s: int | None = None) -> Request:
    """Request the candles of one timeframe that began from about ``since_s`` (seconds since 1970) on.

    At most the last 720 committed ones and the running one come; None requests all of these. Sources disagree on
    whether ``since`` is inclusive (API.md 6.6), so request from two intervals before.
    """
    since = () if since_s is None else (("since", str(since_s)),)
    interval = ("interval", str(TIMEFRAMES[timeframe]))
    params = (("pair", instrument.altname), interval, *since, *_named(instrument.asset_class))
    return Request("/0/public/OHLC", params)


def ticker(instruments: Iterable[Instrument] = (), asset_class: str = CURRENCY) -> Request:
    """Request the tickers of these pairs of one asset class; of all pairs in it for none or for a too long list.

    A single pair that is no longer listed spoils the whole list (``EQuery:Unknown asset pair``).
    """
    names = ",".join(instrument.altname for instrument in instruments)
    listed = Request("/0/public/Ticker", (("pair", names), *_named(asset_class)))
    if names and len(listed.target) <= LIST_LIMIT:
        return listed
    return Request("/0/public/Ticker", _named(asset_class))


def depth(instrument: Instrument, count: int) -> Request:
    """Request the best ``count`` levels, 1 to 500, of either side of the book (API.md 6.8)."""
    params = (("pair", instrument.altname), ("count", str(count)), *_named(instrument.asset_class))
    return Request("/0/public/Depth", params)


def by_class(instruments: Iterable[Instrument]) -> dict[str, list[Instrument]]:
    """Group pairs by the asset class that a request for them has to name."""
    found: dict[str, list[Instrument]] = {}
    for instrument in instruments:
        found.setdefault(instrument.asset_class, []).append(instrument)
    return found


def _named(asset_class: str) -> tuple[tuple[str, str], ...]:
    return () if asset_class == CURRENCY else (("asset_class", asset_class),)


def system_status() -> Request:
    """Request the state of the exchange: its trading state, planned maintenance, emergencies."""
    return Request("/0/public/SystemStatus")


def result(status: int, body: bytes, *, retry_after_s: float | None = None, now_s: float | None = None) -> bytes:
    """Return the raw ``result`` of an answer; raise its error if it contains one.

    HTTP 200 proves nothing by itself: failures come with 200 too, and the ``error`` list decides (API.md 2). ``now_s``
    is wall-clock seconds, for refusals that contain the time at which they end. ``retry_after_s`` is the value of the
    header ``Retry-After``, for whatever error.
    """
    if status != 200:
        raise refusal(status, retry_after_s)
    try:
        answer = wire.answer(body)
    except msgspec.ValidationError as error:
        raise Malformed(f"the answer is no envelope of Kraken's ({error}); it begins {body[:80]!r}") from error
    except wire.UNREADABLE as error:
        raise Unavailable(f"the answer is not JSON ({error}); it begins {body[:80]!r}") from error
    texts = _texts(answer.error)
    if texts is None:
        raise Malformed(
            f"the answer is no envelope of Kraken's (its error is no list of texts); it begins {body[:80]!r}"
        )
    failures = [text for text in texts if not text.startswith("W")]
    if failures:
        failure = error_of(failures, now_s=now_s)
        if retry_after_s is not None:
            failure.retry_after_s = max(retry_after_s, failure.retry_after_s or 0.0)
        raise failure
    if not answer.result:
        raise Malformed("the answer has neither an error nor a result")
    return bytes(answer.result)


def failures(body: bytes) -> list[str]:
    """Return the errors in an answer, without warnings; none if it is no envelope of Kraken's."""
    try:
        texts = _texts(wire.answer(body).error)
    except wire.UNREADABLE:
        return []
    return [text for text in texts or () if not text.startswith("W")]


def refusal(status: int, retry_after_s: float | None = None) -> ExchangeError:
    """Return the error for an HTTP status other than 200: it comes from the edge (API.md 2)."""
    if status == 429:
        return RateLimited("Kraken's edge answered 429 Too Many Requests", retry_after_s)
    if status == 403:
        return Forbidden(
            "Kraken's edge answered 403 Forbidden: our address or User-Agent is not welcome there", retry_after_s
        )
    return Unavailable(f"Kraken's edge answered HTTP {status}", retry_after_s)


def retry_after_s(header: str | None, now_s: float) -> float | None:
    """Return the seconds requested by ``Retry-After``, as a number or a date; None if it is neither.

    ``now_s`` is the server's time in seconds since 1970. The result has no upper bound here.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until_s = seconds(text)
    return None if until_s is None else max(0.0, until_s - now_s)


def seconds(date: str | None) -> int | None:
    """Return the seconds since 1970 of an HTTP date; None if it is invalid."""
    try:
        moment = parsedate_to_datetime(date or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _texts(error: object) -> list[str] | None:
    """Return the texts in the ``error`` of an answer: none if it is null or absent; None if its form is unknown.

    One of Kraken's texts may come without its list: a refusal must not be missed.
    """
    if isinstance(error, str) and _KRAKENS.match(error):
        return [error]
    texts = [] if error is None else error
    if not isinstance(texts, list) or not all(isinstance(one, str | None) for one in texts):
        return None
    return [one for one in texts if one is not None]


def error_of(texts: Sequence[str], *, now_s: float | None = None) -> ExchangeError:
    """Return the error to raise for Kraken's error strings; the one that requires the longest wait wins.

    Strings: docs.kraken.com errors guide and client sources, collected in API.md 3.1. ``now_s`` as in :func:`result`.
    """
    return max((_error_of(text, now_s) for text in texts), key=_patience)


def _patience(error: ExchangeError) -> tuple[int, float]:
    if isinstance(error, RateLimited):
        return 2, error.retry_after_s or 0.0
    return int(isinstance(error, Unavailable)), 0.0


def _error_of(text: str, now_s: float | None) -> ExchangeError:
    # Some texts have a space after the colon and some do not: "EService: Throttled".
    category, _, kind = (part.strip() for part in text.partition(":"))
    sentence = f"Kraken answered {text[:QUOTE_LIMIT]!r}"
    if kind.startswith("Throttled"):
        until = _UNTIL.search(kind)
        return RateLimited(sentence, None if until is None or now_s is None else max(0.0, int(until[1]) - now_s))
    if kind.startswith("Temporary lockout"):
        return RateLimited(sentence, LOCKOUT_S)
    if kind.startswith(("Too many requests", "Rate limit exceeded")):
        return RateLimited(sentence)
    if category == "EService" or kind.startswith("Internal error"):
        return Unavailable(sentence)
    if text.startswith("EQuery:Unknown asset pair"):
        return UnknownPair(sentence)
    return Refused(sentence)
