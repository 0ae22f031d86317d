"""Configuration: config.yaml and RECORDER_* variables, as one frozen tree.

A variable overrides the file; the file overrides the defaults here. An unusable value raises ConfigError, which names
the key, what is wrong with it, and what would be right: the ``description`` of each field below.
"""

from __future__ import annotations

import difflib
import functools
import ipaddress
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from recorder.errors import ConfigError

PREFIX: Final = "RECORDER_"
_USUAL: Final = Path("config.yaml")
_SECRETS: Final = ("ops.token", "account.key_file")
"""Keys whose value no error may show, nor a value in place of their section: the second is where a secret is written
by mistake."""
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)", re.ASCII)
SOME_PAIRS: Final = 20
MANY_PAIRS: Final = 200
"""Above this many pairs a drain waits six times as long, above :data:`SOME_PAIRS` twice as long. A drain writes a file
for each pair that traded, and merges write a third as many again: so 50 pairs write 12,000 files a day and 1,000 write
64,000, all of them trading all the time (benchmarks/files.py). What waits is in the journal, which is as durable, and
which live readers read."""
OFTENEST_DRAIN: Final = "100ms"
"""A drain writes and syncs a file per pair; without a pause it would do nothing else."""
SELDOMEST_DRAIN: Final = "1d"
"""Everything that waits for a drain is read by each live query and by the next start."""
LONGEST_SYNC: Final = "10s"
"""A power cut loses what is not synced yet, which must be requested again."""
LONGEST_KEEP: Final = "3650d"
SHORTEST_TABLE_KEEP: Final = "1d"
"""Rows are removed by whole files, and one that is still in the journal must not come again."""
FOREVER: Final = "forever"
OFTENEST_REFRESH: Final = "2s"
"""The exchange's edge repeats an answer for two seconds (API.md 2); requesting more often brings nothing."""
SELDOMEST_REFRESH: Final = "1h"
"""A minute candle is served for twelve hours: this leaves time for an outage, and for retries after it."""

OFTENEST_ACCOUNT: Final = "30s"
"""A round of requests takes half of a starter's counter, which needs that long to fall again (API.md 4.2)."""
SELDOMEST_ACCOUNT: Final = "1d"
"""Rounds overlap by a day."""

NO_PROXY: Final = "none"
"""The value of exchange.proxy that means none, whatever the environment contains."""

LIVE: Final = (
    "pairs",
    "trades.backfill_from",
    "ohlc.timeframes",
    "ohlc.refresh",
    "quotes.pairs",
    "quotes.keep",
    "books.pairs",
    "books.keep",
    "archive.drain_every",
    "journal.sync_every",
    "journal.keep",
    "exchange.requests_per_second",
)
"""The keys that a running recorder applies when it reads its configuration again. All others wait for a restart."""


def duration_s(text: object) -> float:
    """Return the seconds of a text such as ``100ms``, ``30s``, ``5m``, ``1h`` or ``7d``. Raises ValueError."""
    found = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError("write a number and a unit, such as 100ms, 30s, 5m, 1h or 7d")
    return float(found[1]) * _UNITS_S[found[2]]


def _duration_text(seconds: float | None, none: str = "auto") -> str:
    """Return a duration as written in a file, in the largest unit without a fraction; None is the word ``none``.

    >>> [_duration_text(seconds) for seconds in (0.0, 0.1, 60.0, 90.0, 604_800.0, None)]
    ['0s', '100ms', '1m', '90s', '7d', 'auto']
    """
    if seconds is None:
        return none
    for unit in ("d", "h", "m", "s", "ms"):
        count = round(seconds / _UNITS_S[unit], 6)
        if count >= 1 and count.is_integer():
            return f"{count:.0f}{unit}"
    return f"{seconds * 1000:.9f}".rstrip("0").rstrip(".") + "ms" if seconds else "0s"


_AS_WRITTEN: Final = PlainSerializer(_duration_text, when_used="json")
"""Serializes a duration so that it can be read again."""
_OR_FOREVER: Final = PlainSerializer(lambda seconds: _duration_text(seconds, FOREVER), when_used="json")


def _duration(shortest: str, longest: str, *, none: str | None = None) -> BeforeValidator:
    """Read a duration between two others, or None from the word ``none``."""

    def read(text: object) -> float | None:
        if none is not None and text == none:
            return None
        seconds = duration_s(text)
        if not duration_s(shortest) <= seconds <= duration_s(longest):
            raise ValueError
        return seconds

    return BeforeValidator(read)


def _url(plain: str, secure: str) -> AfterValidator:
    def check(text: str, others: ValidationInfo) -> str:
        url = urlsplit(text)
        # Reading the port raises a ValueError of its own if it is invalid.
        if url.scheme not in {plain, secure} or not url.hostname or url.port == 0 or re.search(r"\s", text):
            raise ValueError
        # Anyone on the network path could change the prices.
        if url.scheme == plain and not (is_local(url.hostname) or others.data.get("allow_plaintext")):
            raise ValueError
        return text

    return AfterValidator(check)


def _proxy(text: str) -> str:
    if text != NO_PROXY:
        url = urlsplit(text)
        if url.scheme not in {"http", "https"} or not url.hostname or url.port == 0 or re.search(r"\s", text):
            raise ValueError
    return text


def is_local(host: str) -> bool:
    """Return whether this name or address is always that of this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(value: object) -> object:
    """Split the comma-separated values of an environment variable, in brackets as in the file or without."""
    if not isinstance(value, str):
        return value
    listed = value.strip().removeprefix("[").removesuffix("]")
    return [part.strip() for part in listed.split(",") if part.strip()]


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError
    return values


def _params(value: object) -> object:
    """Let an environment variable say a map as JSON; refuse parameters that the recorder must choose itself."""
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, dict) or found.keys() & _OWN_PARAMS:
        raise ValueError
    return found


_OWN_PARAMS: Final = frozenset({"channel", "symbol", "snapshot"})


def _no_truth(value: object) -> object:
    """Refuse booleans where a number is required: Python would read them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004 -- only a ValueError becomes a ValidationError
    return value


def _whole(value: object) -> object:
    """Read a number of an environment variable, and refuse booleans."""
    return int(value) if isinstance(value, str) else _no_truth(value)


def _some(path: Path) -> Path:
    """Refuse an empty path, which would mean the current folder, and one that no system accepts."""
    if path == Path() or "\0" in str(path):
        raise ValueError
    return path


def _secret(token: SecretStr | None) -> SecretStr | None:
    """Refuse a token that is easily guessed, or that no header can contain."""
    if token is not None and not re.fullmatch(r"[!-~]{16,256}", token.get_secret_value()):
        raise ValueError
    return token


Name = Annotated[str, Field(min_length=1, pattern=r"\S")]
Number = BeforeValidator(_no_truth)
Timeframe = Literal["1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "15d"]
"""``core.model.SERVED_TIMEFRAMES``."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def _since(value: object) -> int | None:
    """Read ``nothing`` (None), ``listing`` (0) or a UTC day (µs since 1970)."""
    if value == "nothing":
        return None
    if value == "listing":
        return 0
    # YAML parses an unquoted date as one.
    day = date.fromisoformat(value) if isinstance(value, str) and len(value) == _DAY else value
    if type(day) is not date or day.year < _FIRST_YEAR:
        raise ValueError
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def _since_text(us: int | None) -> str:
    if us is None:
        return "nothing"
    return datetime.fromtimestamp(us // 1_000_000, UTC).date().isoformat() if us else "listing"


_DAY: Final = len("2025-11-10")
_FIRST_YEAR: Final = 2011
"""Kraken was founded then: an earlier day is probably meant as ``listing``."""


class TradesConfig(_Section):
    """How trades are recorded, by the stream or by polling alone, and since when (µs since 1970 UTC, 0 for all)."""

    stream: bool = Field(True, description="true or false")
    backfill_from: Annotated[int | None, BeforeValidator(_since), PlainSerializer(_since_text, when_used="json")] = (
        Field(
            "nothing",  # type: ignore[assignment]  # validated like user input
            description="nothing, listing for all that was ever traded, or a day from 2011 on, such as 2024-01-01",
        )
    )


class OhlcConfig(_Section):
    """Which candles are recorded, and the shortest time between two requests for a series of them (seconds)."""

    timeframes: Annotated[tuple[Timeframe, ...], NoDecode, BeforeValidator(_split), AfterValidator(_each_once)] = Field(
        ("1m", "1h", "1d"),
        description=f"some of {', '.join(get_args(Timeframe))}, each once, such as [1m, 1h, 1d], or [] for no candles",
    )
    refresh: Annotated[float, _duration(OFTENEST_REFRESH, SELDOMEST_REFRESH), _AS_WRITTEN] = Field(
        "1m",  # type: ignore[assignment]
        description=f"a number and a unit, from {OFTENEST_REFRESH} to {SELDOMEST_REFRESH}, such as 30s or 1m",
    )


class QuotesConfig(_Section):
    """Of which pairs the best bid and ask are recorded, and how long they are kept (seconds; None: forever)."""

    pairs: Annotated[tuple[Name, ...], NoDecode, BeforeValidator(_split), AfterValidator(_each_once)] = Field(
        (), description='pairs by name or pattern, each once, such as [BTC/USD, "*/EUR"], or [] for none'
    )
    keep: Annotated[float | None, _duration(SHORTEST_TABLE_KEEP, LONGEST_KEEP, none=FOREVER), _OR_FOREVER] = Field(
        FOREVER,  # type: ignore[assignment]  # validated like user input
        description=f"a number and a unit, from {SHORTEST_TABLE_KEEP} to {LONGEST_KEEP}, such as 90d, or {FOREVER}",
    )


class BooksConfig(_Section):
    """Of which pairs the order book is recorded, how deep, and how long it is kept (seconds; None: forever)."""

    pairs: Annotated[tuple[Name, ...], NoDecode, BeforeValidator(_split), AfterValidator(_each_once)] = Field(
        (), description='pairs by name or pattern, each once, such as [BTC/USD, "*/EUR"], or [] for none'
    )
    depth: Annotated[Literal[10, 25, 100, 500, 1000], BeforeValidator(_whole)] = Field(
        10, description="levels of each side: 10, 25, 100, 500 or 1000"
    )
    keep: Annotated[float | None, _duration(SHORTEST_TABLE_KEEP, LONGEST_KEEP, none=FOREVER), _OR_FOREVER] = Field(
        FOREVER,  # type: ignore[assignment]  # validated like user input
        description=f"a number and a unit, from {SHORTEST_TABLE_KEEP} to {LONGEST_KEEP}, such as 90d, or {FOREVER}",
    )


class ArchiveConfig(_Section):
    """Where the archive is and how often the journal is drained into it (seconds; None: auto)."""

    path: Annotated[Path, AfterValidator(_some)] = Field(Path("data"), description="the path of a folder, such as data")
    drain_every: Annotated[float | None, _duration(OFTENEST_DRAIN, SELDOMEST_DRAIN, none="auto"), _AS_WRITTEN] = Field(
        "auto",  # type: ignore[assignment]  # validated like user input
        description=f"a number and a unit, from {OFTENEST_DRAIN} to {SELDOMEST_DRAIN}, such as 30s or 5m, or auto",
    )


class JournalConfig(_Section):
    """How often frames are synced, and how long raw frames are retained, in seconds."""

    sync_every: Annotated[float, _duration("0s", LONGEST_SYNC), _AS_WRITTEN] = Field(
        "100ms",  # type: ignore[assignment]
        description=f"a number and a unit, up to {LONGEST_SYNC}, such as 100ms or 1s",
    )
    keep: Annotated[float, _duration("0s", LONGEST_KEEP), _AS_WRITTEN] = Field(
        "7d",  # type: ignore[assignment]
        description=f"a number and a unit, up to {LONGEST_KEEP}, such as 12h or 7d, or 0s to keep none",
    )


class ExchangeConfig(_Section):
    """The addresses of Kraken, and the rate of requests."""

    allow_plaintext: bool = Field(False, description="true or false")
    rest_url: Annotated[str, _url("http", "https")] = Field(
        "https://api.kraken.com",
        description="a URL that begins with https://, or with http:// on this machine, or elsewhere where "
        "exchange.allow_plaintext is true",
    )
    ws_url: Annotated[str, _url("ws", "wss")] = Field(
        "wss://ws.kraken.com/v2",
        description="a URL that begins with wss://, or with ws:// on this machine, or elsewhere where "
        "exchange.allow_plaintext is true",
    )
    proxy: Annotated[str, AfterValidator(_proxy)] | None = Field(
        None,
        description="a URL such as http://proxy:3128, or none; left out, what HTTPS_PROXY and NO_PROXY say",
    )
    subscribe_params: Annotated[dict[str, str | int | bool], NoDecode, BeforeValidator(_params)] = Field(
        default_factory=dict,
        description="what each subscription says besides channel, symbol and snapshot, such as {venue: spot}",
    )
    requests_per_second: Annotated[float, Number] = Field(
        1.0, ge=0.01, le=1000, description="a number from 0.01 to 1000, such as 1 or 0.5"
    )


def _file_of_key(path: Path | None) -> Path | None:
    """Refuse what is no path but the secret itself."""
    if path is not None:
        _some(path)
        if _LIKE_A_SECRET.fullmatch(str(path)):
            raise ValueError
    return path


_LIKE_A_SECRET: Final = re.compile(r"[A-Za-z0-9+/]{40,}={1,2}", re.ASCII)
"""Kraken's secrets are 64 bytes in base64, which end so; no path does."""


class AccountConfig(_Section):
    """Whether and how an own account is recorded; ``every`` in seconds. The key itself is never part of this."""

    record: bool = Field(False, description="true or false")
    key_file: Annotated[Path | None, AfterValidator(_file_of_key)] = Field(
        None, description="the path of a file with the key, readable by you alone, or leave it out"
    )
    path: Annotated[Path, AfterValidator(_some)] | None = Field(
        None, description="the path of a folder of its own, or leave it out for account beside the archive"
    )
    tier: Literal["starter", "intermediate", "pro"] = Field("starter", description="starter, intermediate or pro")
    every: Annotated[float, _duration(OFTENEST_ACCOUNT, SELDOMEST_ACCOUNT), _AS_WRITTEN] = Field(
        "5m",  # type: ignore[assignment]  # validated like user input
        description=f"a number and a unit, from {OFTENEST_ACCOUNT} to {SELDOMEST_ACCOUNT}, such as 5m or 1h",
    )
    allow_trading_key: bool = Field(False, description="true or false")


class OpsConfig(_Section):
    """Health, metrics and logs, and who may access them."""

    host: Name = Field("127.0.0.1", description="an address or name to listen at, such as 127.0.0.1")
    port: Annotated[int, Number] = Field(9184, ge=0, le=65535, description="a number from 0 (serve nothing) to 65535")
    expose: bool = Field(False, description="true or false")
    token: Annotated[SecretStr | None, AfterValidator(_secret)] = Field(
        None, description="a secret of 16 to 256 letters, digits and signs without a space, or leave it out"
    )
    log: Literal["console", "json"] = Field("console", description="console or json")


class PageConfig(_Section):
    """The page for people at the address of ``ops``, and the secret that it asks for."""

    enabled: bool = Field(True, description="true or false")
    token_file: Annotated[Path, AfterValidator(_some)] | None = Field(
        None, description="the path of a file with a secret that only its owner can read, or leave it out"
    )


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", validate_default=True
    )

    pairs: Annotated[tuple[Name, ...], NoDecode, BeforeValidator(_split)] = Field(
        ("BTC/USD", "ETH/EUR", "DOGE/USD"), min_length=1, description="one pair or more, such as [BTC/USD, ETH/EUR]"
    )
    trades: TradesConfig = TradesConfig()
    ohlc: OhlcConfig = OhlcConfig()
    quotes: QuotesConfig = QuotesConfig()
    books: BooksConfig = BooksConfig()
    archive: ArchiveConfig = ArchiveConfig()
    journal: JournalConfig = JournalConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    account: AccountConfig = AccountConfig()
    ops: OpsConfig = OpsConfig()
    page: PageConfig = PageConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let variables override the file, which is passed in as arguments."""
        return env_settings, init_settings

    @property
    def account_path(self) -> Path:
        """The folder of the account: by default beside the archive, never in it."""
        return self.account.path or self.archive.path.absolute().parent / "account"

    def drain_every_s(self, pairs: int) -> float:
        """Return the seconds between drains when ``pairs`` pairs are recorded."""
        every = self.archive.drain_every
        if every is not None:
            return every
        if pairs > SOME_PAIRS:
            return duration_s("30m" if pairs > MANY_PAIRS else "10m")
        return duration_s("5m")


def load(path: Path | None = None) -> Config:
    """Read the configuration at ``path`` (None: ``config.yaml`` if it exists). Raises ConfigError."""
    found = place(path)
    content = {} if found is None else _read(found)
    chosen = found or _USUAL
    # pydantic-settings would accept options of its own here.
    wrong = [_unknown_key(key, str(chosen)) for key in content if key not in Config.model_fields]
    wrong += _unknown_variables()
    try:
        read = Config(**{key: value for key, value in content.items() if key in Config.model_fields})
    except ValidationError as error:
        wrong += _sentences(error, str(chosen))
    if wrong:
        raise ConfigError("\n".join(wrong))
    return read


def example() -> str:
    """Return the example file with every default, and a comment for each key."""
    package = resources.files("recorder")
    packaged = package / "_config.yaml"
    # With an editable install it is beside the package.
    where = packaged if packaged.is_file() else Path(str(package)).parent / "config.yaml"
    return where.read_text(encoding="utf-8")


def place(path: Path | None) -> Path | None:
    """Return the path that :func:`load` reads, so that it can be read again; None if there is no file."""
    return path or (_USUAL if _USUAL.exists() else None)


def keys() -> list[str]:
    """Return every key with its dots, such as ``archive.path``."""
    return list(_remedies(Config))


def differences(before: Config, after: Config) -> list[str]:
    """Return the keys whose values differ."""
    return [key for key in keys() if _value(before, key) != _value(after, key)]


def with_live(running: Config, read: Config) -> Config:
    """Return ``running`` with the values of ``read`` for the :data:`LIVE` keys."""
    merged = running
    for key in LIVE:
        section, _, name = key.rpartition(".")
        update = {name: _value(read, key)}
        if section:
            update = {section: getattr(merged, section).model_copy(update=update)}
        merged = merged.model_copy(update=update)
    return merged


def _value(config: Config, key: str) -> Any:  # noqa: ANN401 -- keys are of many types
    return functools.reduce(getattr, key.split("."), config)


def _remedies(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Return every key with the description of its valid values."""
    remedies: dict[str, str] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            remedies |= _remedies(kind, f"{prefix}{name}.")
        else:
            remedies[f"{prefix}{name}"] = field.description or ""
    return remedies


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError: an invalid date, or not UTF-8
        raise ConfigError(
            f"{path} is no YAML: {_unread(error)}; compare it with what `recorder config` prints"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no keys; it should look like `pairs: [BTC/USD]`")
    return _given(content)


def _unread(error: Exception) -> str:
    """Return what is wrong with a text that is not YAML, without quoting it: the line may contain the token."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error)


def _given(content: dict[Any, Any]) -> dict[str, Any]:
    """Drop the keys without a value: for them the default applies."""
    given = {str(key): _given(value) if isinstance(value, dict) else value for key, value in content.items()}
    return {key: value for key, value in given.items() if value is not None}


def _unknown_variables() -> Iterator[str]:
    """Yield an error for each variable that matches no key: mistyped, it would leave the default in force."""
    known = {_variable(key): key for key in keys()}
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            yield f"environment: {name} is no configuration key; {hint}"


def _variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__")


def _unknown_key(key: str, source: str) -> str:
    known = [*keys(), *Config.model_fields]
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(keys())}"
    return f"{source}: {key} is no configuration key; {hint}"


def _sentences(error: ValidationError, source: str) -> Iterator[str]:
    remedies = _remedies(Config)
    variables = {name.upper() for name in os.environ}
    given: set[str] = set()
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        written = ".".join(path)
        key = next((key for key in remedies if f"{written}.".startswith(f"{key}.")), None)
        if key in given:  # a list with invalid entries is also an invalid list
            continue
        if key is not None:
            given.add(key)
            place = f"environment variable {_variable(key)}" if _variable(key) in variables else f"{source}: {written}"
            shown = "not shown here" if key in _SECRETS else _shown(problem["input"])
            yield f"{place} is {shown}: write {remedies[key]}"
        elif problem["type"] == "extra_forbidden":
            yield _unknown_key(written, source)
        else:
            below = ", ".join(key for key in remedies if key.startswith(f"{written}."))
            hidden = problem["input"] and any(secret.startswith(f"{written}.") for secret in _SECRETS)
            shown = "no section" if hidden else _shown(problem["input"])
            yield f"{source}: {written} is {shown}: write its keys below it ({below})"


def _shown(value: object) -> str:
    """Return the value as written, unless it may be a URL with a password, whole or mistyped."""
    written = repr(value)
    return "not shown here" if "@" in written else written
