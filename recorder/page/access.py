"""Who may use the page: the checks of each request, the token, and the sessions of a login.

Pure but for the secrets: no request, no clock. A browser on this machine runs pages of strangers, so that a request
comes from here proves nothing: it must have been made by our own page, or by a program.
"""

from __future__ import annotations

import hmac
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from recorder.errors import ConfigError

COOKIE: Final = "recorder"
SESSION_S: Final = 7 * 86_400.0
"""Time after which one logs in again."""
SESSIONS: Final = 64
"""Sessions at once; the oldest ends when there are more."""
ATTEMPTS: Final = 5
"""Wrong tokens in a row; each further attempt waits for :data:`ATTEMPT_S`."""
ATTEMPT_S: Final = 10.0
SHORTEST: Final = 16
LONGEST: Final = 256
"""Lengths of a token, those of ``ops.token``."""


def foreign(headers: Mapping[str, str], method: str, host: str) -> str | None:
    """Return why a request was not made by our own page or by a program; None if it was.

    Browsers send ``Origin`` with what a page of another site sends, and with each WebSocket; newer ones say of every
    request from which site it comes. Following a link from elsewhere is allowed: that only shows the page.
    """
    origin = headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return "this request was made by a page of another site"
    site, mode = headers.get("Sec-Fetch-Site", "none"), headers.get("Sec-Fetch-Mode", "")
    followed = mode == "navigate" and method == "GET"
    if site in {"cross-site", "same-site"} and not followed:
        return "this request was made by a page of another site"
    return None


def read_token(path: Path) -> str:
    """Return the token in a file that only its owner can read. Raise ConfigError for any other."""
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"page.token_file is {path}: it cannot be read ({reason})") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"page.token_file is {path}, which others may read: run chmod 600 {path}")
    token = text.strip()
    if not SHORTEST <= len(token) <= LONGEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"page.token_file is {path}: write {SHORTEST} to {LONGEST} letters, digits and signs without a space into "
            "it, such as `openssl rand -hex 24` prints"
        )
    return token


class Access:
    """The token of the page, None if anybody on this machine may use it, and the sessions that know it."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._sessions: dict[str, float] = {}
        self._wrong = 0
        self._next_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether no token is needed."""
        return self._token is None

    def allows(self, authorization: str, cookie: str, now_s: float) -> bool:
        """Return whether a request may see the page: by its bearer token, or by the session of its cookie."""
        if self._token is None:
            return True
        if authorization and _same(authorization, f"Bearer {self._token}"):
            return True
        return self._sessions.get(cookie, 0.0) > now_s

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next attempt to log in; 0 if one may be made now."""
        return max(0.0, self._next_s - now_s) if self._wrong >= ATTEMPTS else 0.0

    def login(self, token: str, now_s: float) -> str | None:
        """Return the cookie of a new session; None if the token is wrong, or an attempt came too early."""
        if self._token is None or self.wait_s(now_s):
            return None
        if not _same(token, self._token):
            self._wrong += 1
            self._next_s = now_s + ATTEMPT_S
            return None
        self._wrong = 0
        self._sessions = {key: until_s for key, until_s in self._sessions.items() if until_s > now_s}
        while len(self._sessions) >= SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        cookie = secrets.token_urlsafe(32)
        self._sessions[cookie] = now_s + SESSION_S
        return cookie

    def logout(self, cookie: str) -> None:
        """End a session."""
        self._sessions.pop(cookie, None)


def _same(given: str, right: str) -> bool:
    """Return whether two texts are equal, in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())
