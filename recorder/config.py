"""Configuration: config.yaml and RECORDER_* variables, as one frozen tree.

A variable beats the file; the file beats the defaults here. Whatever cannot be used raises ConfigError, which
names the key, what was wrong with it, and what would be right.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from recorder.errors import ConfigError

PREFIX: Final = "RECORDER_"
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
MANY_PAIRS: Final = 200
"""Above this many pairs a drain writes so many small files that it waits three times as long."""


def duration_s(text: object) -> float:
    """Return seconds of a text such as ``100ms``, ``30s``, ``5m``, ``1h`` or ``7d``. Raises ValueError."""
    found = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError("write a number and a unit, such as 100ms, 30s, 5m, 1h or 7d")
    return float(found[1]) * _UNITS_S[found[2]]


def _url(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        if not re.fullmatch(rf"(?:{'|'.join(schemes)})://[^\s/]+\S*", url):
            raise ValueError(f"write a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return url

    return AfterValidator(check)


def _split(value: object) -> object:
    """Let an environment variable list pairs with commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _duration_or_auto(text: object) -> float | None:
    try:
        return None if text == "auto" else duration_s(text)
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from None


Duration = Annotated[float, BeforeValidator(duration_s)]
DurationOrAuto = Annotated[float | None, BeforeValidator(_duration_or_auto)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ArchiveConfig(_Section):
    """Where the archive lies and how often the journal is drained into it."""

    path: Path = Path("data")
    drain_every: DurationOrAuto = "auto"  # type: ignore[assignment]  # validated like what a person writes


class JournalConfig(_Section):
    """How often frames are synced, and how long raw frames are kept, in seconds."""

    sync_every: Duration = "100ms"  # type: ignore[assignment]
    keep: Duration = "7d"  # type: ignore[assignment]


class ExchangeConfig(_Section):
    """Where Kraken is, and how fast it may be asked."""

    rest_url: Annotated[str, _url("http", "https")] = "https://api.kraken.com"
    ws_url: Annotated[str, _url("ws", "wss")] = "wss://ws.kraken.com/v2"
    requests_per_second: Annotated[float, Field(gt=0, le=1000)] = 1.0


class OpsConfig(_Section):
    """Health, metrics and logs."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9184
    log: Literal["console", "json"] = "console"


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", validate_default=True
    )

    pairs: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)] = (
        "BTC/USD",
        "ETH/EUR",
        "DOGE/USD",
    )
    archive: ArchiveConfig = ArchiveConfig()
    journal: JournalConfig = JournalConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    ops: OpsConfig = OpsConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let variables beat the file, which is passed in as arguments."""
        return env_settings, init_settings

    def drain_every_s(self, pairs: int) -> float:
        """Return seconds between drains when ``pairs`` pairs are recorded."""
        every = self.archive.drain_every
        if every is not None:
            return every
        return duration_s("15m") if pairs > MANY_PAIRS else duration_s("5m")


def load(path: Path | None = None, *, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration at ``path`` (None: ``config.yaml`` where there is one). Raises ConfigError."""
    content: dict[str, Any] = {}
    chosen = path or Path("config.yaml")
    if path is not None or chosen.exists():
        content = _read(chosen)
    _refuse_unknown_variables(os.environ if environ is None else environ)
    try:
        return Config(**content)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentences(error, str(chosen)))) from None


def keys() -> list[str]:
    """Return every key with its dots, such as ``archive.path``."""
    return list(_keys(Config))


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no keys; it should look like `pairs: [BTC/USD]`")
    return {str(key): value for key, value in content.items() if value is not None}


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """Refuse variables that no key answers to: mistyped, they would silently leave the default in force."""
    known = {PREFIX + key.upper().replace(".", "__"): key for key in keys()}
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"environment: {name} is no configuration key; {hint}")


def _sentences(error: ValidationError, source: str) -> Iterator[str]:
    for problem in error.errors():
        path = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "literal["))]
        key = ".".join(path)
        variable = PREFIX + "__".join(path).upper()
        place = f"environment variable {variable}" if variable in os.environ else f"{source}: {key}"
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, keys(), n=1)
            yield f"{source}: {key} is no configuration key" + (f"; did you mean {near[0]}?" if near else "")
        else:
            reason = problem["msg"].removeprefix("Value error, ")
            yield f"{place} is {problem['input']!r}: {reason[:1].lower()}{reason[1:]}"
