"""The key of an account: where it comes from, and how it is kept out of everything that is written.

It comes from a file, a systemd credential or the environment, in that order, as lines or variables of the same names.
Nothing that this module raises repeats any of it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote_plus

from recorder.errors import KeyRefused
from recorder.kraken import private_signing

KEY: Final = "KRAKEN_API_KEY"
SECRET: Final = "KRAKEN_API_SECRET"  # noqa: S105 -- the name of a variable
OTP: Final = "KRAKEN_API_OTP"
TOTP: Final = "KRAKEN_API_TOTP"
NAMES: Final = (KEY, SECRET, OTP, TOTP)
CREDENTIAL: Final = "kraken-api-key"
"""The name of the systemd credential: LoadCredential=kraken-api-key:/etc/…."""
_LONGEST: Final = 16_384
"""Bytes of a file with a key; the known parts have 200 together."""
_DIGITS: Final = 16
_STEP_S: Final = 30
_HIDDEN: Final = "***"


class Credentials:
    """A key, its secret, and what makes its second factor. Shows neither, however it is printed."""

    __slots__ = ("_key", "_otp", "_secret", "_texts", "_totp")

    def __init__(self, values: Mapping[str, str], source: str) -> None:
        """Check the values from ``source``, which is named in errors. Raises KeyRefused."""
        key, secret = values.get(KEY, ""), values.get(SECRET, "")
        for name, given in ((KEY, key), (SECRET, secret)):
            if not given:
                raise KeyRefused(f"there is no {name} in {source}: `recorder account guide` shows how to make a key")
        if not private_signing.is_key(key):
            raise KeyRefused(f"the {KEY} in {source} has not the form of one: copy it again, whole and on one line")
        try:
            self._secret = private_signing.decoded_secret(secret)
        except ValueError as error:
            raise KeyRefused(f"the {SECRET} in {source} cannot be used ({error}): copy it again, whole") from None
        self._key = key
        self._otp = values.get(OTP) or None
        self._totp = _totp_secret(values[TOTP], source) if values.get(TOTP) else None
        if self._otp is not None and self._totp is not None:
            raise KeyRefused(f"{source} has {OTP} and {TOTP}: a key has one second factor, so leave one of them out")
        texts = {form for text in map(values.get, NAMES) if text for form in (text, quote_plus(text))}
        self._texts = tuple(sorted(texts, key=len, reverse=True))

    def __repr__(self) -> str:
        return f"Credentials({self.fingerprint})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not copied, and not written anywhere")

    @property
    def header(self) -> str:
        """The public half, for the header of a request."""
        return self._key

    @property
    def fingerprint(self) -> str:
        """A name for the key that does not reveal it: the first digits of its SHA-256."""
        return hashlib.sha256(self._key.encode()).hexdigest()[:_DIGITS]

    @property
    def mark(self) -> str:
        """A name for key and secret together, of which neither can be found again."""
        return hmac.new(self._secret, b"recorder " + self._key.encode(), hashlib.sha256).hexdigest()[:_DIGITS]

    def sign(self, path: str, nonce: int, body: str) -> str:
        """Return the signature of a request."""
        return private_signing.signature(self._secret, path, str(nonce), body)

    def otp(self, now_ns: int) -> str | None:
        """Return the second factor at this time; None if the key has none."""
        return self._otp if self._totp is None else one_time_code(self._totp, now_ns // 1_000_000_000)

    def hidden(self, text: str) -> str:
        """Return a text from others without any part of the key that it may repeat."""
        for secret in self._texts:
            text = text.replace(secret, _HIDDEN)
        return text


def one_time_code(secret: bytes, now_s: int) -> str:
    """Return the six digits of an authenticator (RFC 6238) at this time.

    >>> one_time_code(b"12345678901234567890", 59)
    '287082'
    """
    digest = hmac.new(secret, (now_s // _STEP_S).to_bytes(8, "big"), hashlib.sha1).digest()
    at = digest[-1] & 0xF
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"


def load(key_file: Path | None, environ: Mapping[str, str]) -> Credentials:
    """Return the key from a file (None: as configured nowhere), a systemd credential or the environment.

    Raises KeyRefused if there is none, or if others can read it.
    """
    if key_file is not None:
        return Credentials(_lines(key_file, "the file of account.key_file"), "the file of account.key_file")
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if folder and (path := Path(folder) / CREDENTIAL).exists():
        return Credentials(_lines(path, f"the credential {CREDENTIAL}", private=True), f"the credential {CREDENTIAL}")
    if KEY not in environ:
        raise KeyRefused(
            f"there is no key: name a file by account.key_file, or set {KEY} and {SECRET} in the environment; "
            "`recorder account guide` shows how to make one"
        )
    return Credentials(environ, "the environment")


def _lines(path: Path, what: str, *, private: bool = False) -> dict[str, str]:
    """Read a file of NAME=VALUE lines. One that is ``private`` is kept so by the system. Raises KeyRefused.

    The path is not shown: somebody may have written the secret in its place.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise KeyRefused(f"{what} cannot be opened: {reason}") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise KeyRefused(f"{what} is no file")
        if not private and found.st_uid not in {0, os.geteuid()}:
            raise KeyRefused(f"{what} belongs to another user, who could read it: make it your own")
        if not private and found.st_mode & 0o077:
            raise KeyRefused(f"{what} can be read by others (mode {found.st_mode & 0o777:04o}): call chmod 600 on it")
        content = os.read(handle, _LONGEST + 1)
    finally:
        os.close(handle)
    if len(content) > _LONGEST:
        raise KeyRefused(f"{what} is longer than any key")
    try:
        return _parsed(content.decode("utf-8-sig"), what)
    except UnicodeDecodeError:
        raise KeyRefused(f"{what} is no text in UTF-8") from None


def _parsed(content: str, what: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, written in enumerate(content.splitlines(), start=1):
        line = written.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if name not in NAMES or not equals:
            raise KeyRefused(f"line {number} of {what} is none of {', '.join(f'{name}=…' for name in NAMES)}")
        if name in values:
            raise KeyRefused(f"line {number} of {what} repeats {name}")
        values[name] = value.strip("'\"")
    return values


def _totp_secret(text: str, source: str) -> bytes:
    plain = text.replace(" ", "").upper()
    try:
        found = base64.b32decode(plain + "=" * (-len(plain) % 8))
    except (binascii.Error, ValueError):
        raise KeyRefused(f"the {TOTP} in {source} is not base32: copy it again") from None
    if not found:
        raise KeyRefused(f"the {TOTP} in {source} is empty")
    return found
