from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from recorder import config
from recorder.config import LIVE, Config, ExchangeConfig, differences, duration_s, keys, load, place, with_live
from recorder.core.model import SERVED_TIMEFRAMES
from recorder.errors import ConfigError

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith(config.PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refused(text: str) -> str:
    path = Path("mine.yaml")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


def value_of(configuration: Config, key: str) -> Any:
    found: Any = configuration
    for part in key.split("."):
        found = getattr(found, part)
    return found


# -- the defaults ---------------------------------------------------------------------------------------------------


def test_the_annotated_file_says_what_the_defaults_say_and_nothing_more() -> None:
    content = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    written = [
        f"{key}.{inner}" if inner else key
        for key, value in content.items()
        for inner in (value if isinstance(value, dict) else [None])
    ]
    assert written == keys()
    assert load(ROOT / "config.yaml") == Config() == load()


def test_the_defaults_are_the_documented_ones() -> None:
    defaults = load()
    assert defaults.pairs == ("BTC/USD", "ETH/EUR", "DOGE/USD")
    assert defaults.archive.path == Path("data")
    assert (defaults.ohlc.timeframes, defaults.ohlc.refresh) == (("1m", "1h", "1d"), 60)
    assert (defaults.journal.sync_every, defaults.journal.keep) == (0.1, 7 * 86400)
    assert (defaults.exchange.rest_url, defaults.exchange.ws_url) == (
        "https://api.kraken.com",
        "wss://ws.kraken.com/v2",
    )


def test_config_yaml_is_read_where_there_is_one_and_missed_only_where_it_was_named() -> None:
    assert load() == Config()
    assert place(None) is None
    Path("config.yaml").write_text("pairs: [SOL/USD]", encoding="utf-8")
    assert place(None) == Path("config.yaml")
    assert load().pairs == ("SOL/USD",)
    with pytest.raises(ConfigError, match=r"cannot read the configuration elsewhere\.yaml: No such file"):
        load(Path("elsewhere.yaml"))


@pytest.mark.parametrize(
    "text", ["", "# only a comment", "pairs:", "archive:", "archive: {path: }\nops: {port: , log: }"]
)
def test_a_key_after_which_nothing_is_written_keeps_its_default(text: str) -> None:
    Path("mine.yaml").write_text(text, encoding="utf-8")
    assert load(Path("mine.yaml")) == Config()


def test_a_configuration_cannot_be_changed() -> None:
    for part, name in ((load(), "pairs"), (load().archive, "path")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(part, name, ())


def test_auto_drains_every_five_minutes_and_seldomer_with_many_pairs() -> None:
    assert load().archive.drain_every is None
    assert [load().drain_every_s(pairs) for pairs in (20, 21, 200, 201)] == [300, 600, 600, 1800]
    Path("mine.yaml").write_text("archive: {drain_every: 30s}", encoding="utf-8")
    assert load(Path("mine.yaml")).drain_every_s(1_000) == 30


def test_what_is_live_is_taken_over_and_all_else_stays() -> None:
    running = load()
    Path("mine.yaml").write_text(
        "pairs: [SOL/USD]\ntrades: {stream: false, backfill_from: listing}\nohlc: {timeframes: [], refresh: 2s}\n"
        "quotes: {pairs: [SOL/USD], keep: 30d}\nbooks: {pairs: [SOL/USD], depth: 25, keep: 30d}\n"
        "archive: {path: there, drain_every: 1h}\njournal: {sync_every: 1s, keep: 0s}\n"
        "exchange: {allow_plaintext: true, rest_url: 'https://x', ws_url: 'wss://x', "
        "proxy: none, subscribe_params: {venue: spot}, requests_per_second: 2}\n"
        "account: {record: true, key_file: key, path: mine, tier: pro, every: 1h, allow_trading_key: true}\n"
        "ops: {host: localhost, port: 0, expose: true, token: sixteen-letters-or-more, log: json}\n"
        "page: {enabled: false, token_file: secret}\n"
    )
    wanted = load(Path("mine.yaml"))
    assert differences(running, wanted) == keys()
    merged = with_live(running, wanted)
    assert differences(running, merged) == [key for key in keys() if key in LIVE]
    assert differences(merged, wanted) == [key for key in keys() if key not in LIVE]
    assert merged.drain_every_s(1) == 3600


# -- durations ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]))
def test_a_duration_is_a_number_and_its_unit(number: int, unit: tuple[str, float]) -> None:
    assert duration_s(f"{number}{unit[0]}") == number * unit[1]
    assert duration_s(f" {number}.5 {unit[0]} ") == pytest.approx((number + 0.5) * unit[1])


@pytest.mark.parametrize(
    "text", ["5", "s", "-5s", "5 parsecs", "5S", "1e3s", "٣s", "9" * 50 + "d", "5s5s", "", 5, 5.0, None, True]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="write a number and a unit, such as 100ms, 30s, 5m, 1h or 7d"):
        duration_s(text)


# -- mistakes -------------------------------------------------------------------------------------------------------

MISTAKES = [
    ("pairs", "[]", "[]", "one pair or more"),
    ("pairs", "5", "5", "one pair or more"),
    ("pairs", "' '", "[]", "one pair or more"),
    ("pairs", "{BTC: USD}", "{'BTC': 'USD'}", "one pair or more"),
    ("trades.stream", "5", "5", "true or false"),
    ("trades.stream", "maybe", "'maybe'", "true or false"),
    ("trades.backfill_from", "everything", "'everything'", "nothing, listing for all"),
    ("trades.backfill_from", "'2024-13-01'", "'2024-13-01'", "nothing, listing for all"),
    ("trades.backfill_from", "1970-01-01", "datetime.date(1970, 1, 1)", "a day from 2011 on"),
    ("trades.backfill_from", "2024-01-01T00:00:00", "datetime.datetime(2024, 1, 1, 0, 0)", "such as 2024-01-01"),
    ("trades.backfill_from", "20240101", "20240101", "such as 2024-01-01"),
    ("ohlc.timeframes", "5", "5", "some of 1m, 5m, 15m, 30m, 1h, 4h, 1d, 1w, 15d, each once"),
    ("ohlc.timeframes", "[1m, 1m]", "['1m', '1m']", "each once, such as [1m, 1h, 1d], or [] for no candles"),
    ("ohlc.timeframes", "{1m: 1h}", "{'1m': '1h'}", "some of 1m,"),
    ("ohlc.refresh", "1", "1", "a number and a unit, from 2s to 1h"),
    ("ohlc.refresh", "1s", "'1s'", "from 2s to 1h"),
    ("ohlc.refresh", "2h", "'2h'", "from 2s to 1h"),
    ("quotes.pairs", "[BTC/USD, BTC/USD]", "['BTC/USD', 'BTC/USD']", "pairs by name or pattern, each once"),
    ("quotes.pairs", "5", "5", "or [] for none"),
    ("quotes.keep", "12h", "'12h'", "from 1d to 3650d, such as 90d, or forever"),
    ("quotes.keep", "auto", "'auto'", "or forever"),
    ("books.pairs", "[BTC/USD, BTC/USD]", "['BTC/USD', 'BTC/USD']", "pairs by name or pattern, each once"),
    ("books.depth", "11", "11", "levels of each side: 10, 25, 100, 500 or 1000"),
    ("books.depth", "deep", "'deep'", "levels of each side: 10, 25, 100, 500 or 1000"),
    ("books.depth", "true", "True", "levels of each side: 10, 25, 100, 500 or 1000"),
    ("books.keep", "12h", "'12h'", "from 1d to 3650d, such as 90d, or forever"),
    ("archive.path", "5", "5", "the path of a folder, such as data"),
    ("archive.path", "''", "''", "the path of a folder, such as data"),
    ("archive.drain_every", "5", "5", "a number and a unit, from 100ms to 1d, such as 30s or 5m, or auto"),
    ("archive.drain_every", "5 parsecs", "'5 parsecs'", "or auto"),
    ("archive.drain_every", "0s", "'0s'", "from 100ms to 1d"),
    ("archive.drain_every", "2d", "'2d'", "from 100ms to 1d"),
    ("journal.sync_every", "auto", "'auto'", "a number and a unit, up to 10s"),
    ("journal.sync_every", "1h", "'1h'", "up to 10s"),
    ("journal.keep", "-1d", "'-1d'", "0s to keep none"),
    ("journal.keep", "999999d", "'999999d'", "up to 3650d"),
    ("exchange.allow_plaintext", "maybe", "'maybe'", "true or false"),
    ("exchange.rest_url", "ftp://x", "'ftp://x'", "a URL that begins with https://, or with http:// on this machine"),
    ("exchange.rest_url", "http://api.kraken.com", "'http://api.kraken.com'", "exchange.allow_plaintext is true"),
    ("exchange.rest_url", "http://127.0.0.1.nip.io", "'http://127.0.0.1.nip.io'", "exchange.allow_plaintext is true"),
    ("exchange.rest_url", "http://192.168.1.2", "'http://192.168.1.2'", "exchange.allow_plaintext is true"),
    ("exchange.rest_url", "http://0.0.0.0:80", "'http://0.0.0.0:80'", "exchange.allow_plaintext is true"),
    ("exchange.rest_url", "http://me:secret@x", "not shown here", "exchange.allow_plaintext is true"),
    ("exchange.ws_url", "ws://ws.kraken.com/v2", "'ws://ws.kraken.com/v2'", "exchange.allow_plaintext is true"),
    ("exchange.rest_url", "https://", "'https://'", "a URL that begins with"),
    ("exchange.rest_url", "https://a:port", "'https://a:port'", "a URL that begins with"),
    ("exchange.rest_url", "https://a b", "'https://a b'", "a URL that begins with"),
    ("exchange.ws_url", "https://ws.kraken.com", "'https://ws.kraken.com'", "a URL that begins with wss://"),
    ("exchange.proxy", "socks5://proxy:1080", "'socks5://proxy:1080'", "a URL such as http://proxy:3128, or none"),
    ("exchange.proxy", "proxy:3128", "'proxy:3128'", "a URL such as http://proxy:3128, or none"),
    ("exchange.subscribe_params", "{symbol: x}", "{'symbol': 'x'}", "besides channel, symbol and snapshot"),
    ("exchange.subscribe_params", "[venue]", "['venue']", "besides channel, symbol and snapshot"),
    ("exchange.requests_per_second", "0", "0", "a number from 0.01 to 1000"),
    ("exchange.requests_per_second", "1.0e-12", "1e-12", "a number from 0.01 to 1000"),
    ("exchange.requests_per_second", "true", "True", "a number from 0.01 to 1000"),
    ("exchange.requests_per_second", ".nan", "nan", "a number from 0.01 to 1000"),
    ("exchange.requests_per_second", "fast", "'fast'", "a number from 0.01 to 1000"),
    ("account.record", "maybe", "'maybe'", "true or false"),
    ("account.key_file", "''", "not shown here", "the path of a file with the key"),
    ("account.key_file", "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWx==", "not shown here", "readable by you"),
    ("account.path", "''", "''", "the path of a folder of its own"),
    ("account.tier", "gold", "'gold'", "starter, intermediate or pro"),
    ("account.every", "1s", "'1s'", "from 30s to 1d"),
    ("account.allow_trading_key", "5", "5", "true or false"),
    ("ops.host", "''", "''", "an address or name to listen at"),
    ("ops.port", "99999", "99999", "a number from 0 (serve nothing) to 65535"),
    ("ops.port", "no", "False", "a number from 0"),
    ("ops.port", "1.5", "1.5", "a number from 0"),
    ("ops.expose", "maybe", "'maybe'", "true or false"),
    ("ops.token", "guessed", "not shown here", "a secret of 16 to 256 letters"),
    ("ops.token", "[a secret within a list]", "not shown here", "without a space"),
    ("ops.log", "xml", "'xml'", "console or json"),
    ("page.enabled", "maybe", "'maybe'", "true or false"),
    ("page.token_file", "''", "''", "the path of a file"),
]


@pytest.mark.parametrize(("key", "written", "value", "remedy"), MISTAKES)
def test_every_mistake_in_the_file_names_its_key_its_value_and_its_remedy(
    key: str, written: str, value: str, remedy: str
) -> None:
    section, _, name = key.partition(".")
    said = refused(f"{section}: {{{name}: {written}}}" if name else f"{section}: {written}")
    assert said.startswith(f"mine.yaml: {key} is {value}: write ")
    assert remedy in said
    assert "\n" not in said


def test_every_key_has_a_remedy_and_a_mistake_here() -> None:
    assert {key for key, *_ in MISTAKES} == set(keys())


def test_a_bad_pair_in_a_list_is_told_by_its_place() -> None:
    said = refused("pairs: [BTC/USD, 5]")
    assert said == "mine.yaml: pairs.1 is 5: write one pair or more, such as [BTC/USD, ETH/EUR]"


@pytest.mark.parametrize("timeframe", ["2m", "1M", "60", "1 h"])
def test_an_unknown_timeframe_is_told_by_its_place_with_those_there_are(timeframe: str) -> None:
    said = refused(f"ohlc: {{timeframes: [1m, '{timeframe}']}}")
    assert said.startswith(f"mine.yaml: ohlc.timeframes.1 is {timeframe!r}: write some of 1m, 5m, 15m, 30m, 1h, 4h,")


def test_every_timeframe_of_the_exchange_can_be_chosen_and_none_besides() -> None:
    assert get_args(config.Timeframe) == SERVED_TIMEFRAMES


@pytest.mark.parametrize(("written", "chosen"), [("[]", ()), ("[15d, 1m]", ("15d", "1m")), ("1h", ("1h",))])
def test_timeframes_are_chosen_by_a_list_and_an_empty_one_chooses_none(written: str, chosen: tuple[str, ...]) -> None:
    Path("mine.yaml").write_text(f"ohlc: {{timeframes: {written}}}", encoding="utf-8")
    assert load(Path("mine.yaml")).ohlc.timeframes == chosen


@pytest.mark.parametrize(
    ("written", "chosen"), [("", ()), ("[]", ()), (" [ ] ", ()), ("[15d, 1m]", ("15d", "1m")), ("1h,1m", ("1h", "1m"))]
)
def test_a_variable_lists_with_commas_or_as_the_file_does(
    monkeypatch: pytest.MonkeyPatch, written: str, chosen: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RECORDER_OHLC__TIMEFRAMES", written)
    assert load().ohlc.timeframes == chosen


def test_all_mistakes_are_told_at_once() -> None:
    lines = refused("ops: {port: x, log: y}\njournal: {keep: z}").splitlines()
    assert [line.split(" is ")[0] for line in lines] == [
        "mine.yaml: journal.keep",
        "mine.yaml: ops.port",
        "mine.yaml: ops.log",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pears: [BTC/USD]", "mine.yaml: pears is no configuration key; did you mean pairs?"),
        ("arkhive: {path: x}", "mine.yaml: arkhive is no configuration key; did you mean archive?"),
        ("archive: {pth: x}", "mine.yaml: archive.pth is no configuration key; did you mean archive.path?"),
        ("colour: red", "mine.yaml: colour is no configuration key; known are pairs, trades.stream, "),
        ("5: 6", "mine.yaml: 5 is no configuration key; known are"),
        ("_env_file: x", "mine.yaml: _env_file is no configuration key; known are"),
        ("_cli_parse_args: true", "mine.yaml: _cli_parse_args is no configuration key; known are"),
        ("archive: 5", "mine.yaml: archive is 5: write its keys below it (archive.path, archive.drain_every)"),
        ("ops: []", "mine.yaml: ops is []: write its keys below it (ops.host, ops.port, ops.expose, ops.token, "),
        ("[1]", "mine.yaml holds no keys; it should look like `pairs: [BTC/USD]`"),
        ("a: b: c", "mine.yaml is no YAML: mapping values are not allowed here"),
        ("a: 2026-99-99", "mine.yaml is no YAML: month must be in 1..12"),
    ],
)
def test_what_is_no_configuration_is_refused_by_a_sentence(text: str, sentence: str) -> None:
    assert refused(text).startswith(sentence)


def test_a_file_that_is_no_text_is_refused_by_a_sentence() -> None:
    Path("mine.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"mine\.yaml is no YAML"):
        load(Path("mine.yaml"))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["5m", "1s"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*Config.model_fields, "path", "port", "keep", "x"]) | st.integers(), inner
            )
        ),
        max_leaves=8,
    )
)
def test_no_content_makes_it_fail_otherwise(content: object) -> None:
    path = Path("any.yaml")
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        load(path)
    except ConfigError as error:
        assert "any.yaml" in str(error)  # noqa: PT017 -- either outcome is right


SECRET = "s3cret-of-an-operator"


@pytest.mark.parametrize(
    "text",
    [
        f"ops: {{token: '{SECRET} '}}",
        f"ops: {{token: [{SECRET}]}}",
        f"ops: {{token: {{is: {SECRET}}}}}",
        f"ops: {SECRET}",
        f"ops: [{SECRET}]",
        f"ops: [token: {SECRET}]",
        f"ops:\n  token: '{SECRET}\n",
        f"ops:\n  token: {SECRET}: x\n",
        f"ops:\n\ttoken: {SECRET}\n",
        f"obs: {{token: {SECRET}}}",
    ],
)
def test_no_mistake_shows_the_token(text: str) -> None:
    assert SECRET not in refused(text)


def test_a_good_token_is_read_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDER_OPS__TOKEN", SECRET)
    read = load()
    assert read.ops.token == SecretStr(SECRET)
    assert SECRET not in f"{read!r}{read}{read.model_dump(mode='json')}"
    monkeypatch.setenv("RECORDER_OPS__TOKEN", f"{SECRET}\n")
    with pytest.raises(ConfigError) as caught:
        load()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9:80", "[::1]:8080"])
def test_this_machine_is_reached_in_plain_text_and_others_where_it_is_allowed(host: str) -> None:
    assert ExchangeConfig(rest_url=f"http://{host}", ws_url=f"ws://{host}").rest_url == f"http://{host}"
    allowed = ExchangeConfig(allow_plaintext=True, rest_url="http://mirror.example", ws_url="ws://mirror.example")
    assert allowed.ws_url == "ws://mirror.example"


@pytest.mark.parametrize(
    "text",
    [
        f"exchange: {{rest_url: 'https://me:{SECRET}@host:port'}}",
        f"exchange: {{rest_url: 'https://me:{SECRET}/x@host'}}",
        f"exchange: {{rest_url: 'me:{SECRET}@host'}}",
        f"exchange: {{ws_url: 'wss:/me:{SECRET}@host'}}",
        f"exchange: {{ws_url: ['wss://me:{SECRET}@host']}}",
        f"exchange: 'https://me:{SECRET}@host'",
        f"exchange: ['https://me:{SECRET}@host']",
    ],
)
def test_no_mistake_shows_the_password_in_a_url(text: str) -> None:
    assert SECRET not in refused(text)


# -- the environment ------------------------------------------------------------------------------------------------

TWINS = {
    "pairs": ("SOL/USD, XBTUSDT", ("SOL/USD", "XBTUSDT")),
    "trades.stream": ("false", False),
    "trades.backfill_from": ("2024-01-01", 1_704_067_200_000_000),
    "ohlc.timeframes": ("5m, 1w", ("5m", "1w")),
    "ohlc.refresh": ("90s", 90.0),
    "quotes.pairs": ("BTC/USD, */EUR", ("BTC/USD", "*/EUR")),
    "quotes.keep": ("90d", 7_776_000.0),
    "books.pairs": ("BTC/USD, */EUR", ("BTC/USD", "*/EUR")),
    "books.depth": ("100", 100),
    "books.keep": ("90d", 7_776_000.0),
    "archive.path": ("elsewhere", Path("elsewhere")),
    "archive.drain_every": ("30s", 30.0),
    "journal.sync_every": ("250ms", 0.25),
    "journal.keep": ("0s", 0.0),
    "exchange.allow_plaintext": ("true", True),
    "exchange.rest_url": ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    "exchange.ws_url": ("ws://127.0.0.1:8080/v2", "ws://127.0.0.1:8080/v2"),
    "exchange.proxy": ("http://proxy:3128", "http://proxy:3128"),
    "exchange.subscribe_params": ('{"venue": "spot"}', {"venue": "spot"}),
    "exchange.requests_per_second": ("0.5", 0.5),
    "account.record": ("true", True),
    "account.key_file": ("mine", Path("mine")),
    "account.path": ("there", Path("there")),
    "account.tier": ("pro", "pro"),
    "account.every": ("1h", 3600),
    "account.allow_trading_key": ("true", True),
    "ops.host": ("0.0.0.0", "0.0.0.0"),
    "ops.port": ("0", 0),
    "ops.expose": ("true", True),
    "ops.token": ("0123456789abcdef", SecretStr("0123456789abcdef")),
    "ops.log": ("json", "json"),
    "page.enabled": ("false", False),
    "page.token_file": ("secret", Path("secret")),
}


def variable(key: str) -> str:
    return "RECORDER_" + key.upper().replace(".", "__")


def test_every_key_is_tried_in_the_environment() -> None:
    assert list(TWINS) == keys()


@pytest.mark.parametrize("key", TWINS)
def test_every_key_has_its_twin_in_the_environment_which_beats_the_file(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, value = TWINS[key]
    before = load()
    assert value_of(before, key) != value
    monkeypatch.setenv(variable(key), text)
    after = load(ROOT / "config.yaml")
    assert value_of(after, key) == value
    assert all(value_of(after, other) == value_of(before, other) for other in keys() if other != key)


def test_a_variable_sets_its_key_and_the_file_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.yaml").write_text("ops: {port: 1, log: json}", encoding="utf-8")
    monkeypatch.setenv("RECORDER_OPS__PORT", "2")
    assert (load(Path("mine.yaml")).ops.port, load(Path("mine.yaml")).ops.log) == (2, "json")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RECORDER_OPS__PORT", "x", "environment variable RECORDER_OPS__PORT is 'x': write a number from 0"),
        ("RECORDER_PAIRS", "", "environment variable RECORDER_PAIRS is []: write one pair or more"),
        ("RECORDER_ARCHIVE__PATH", "", "environment variable RECORDER_ARCHIVE__PATH is '': write the path"),
        (
            "RECORDER_ARCHIVE__DRAIN_EVERY",
            "5",
            "environment variable RECORDER_ARCHIVE__DRAIN_EVERY is '5': write a number",
        ),
        ("recorder_ops__port", "x", "environment variable RECORDER_OPS__PORT is 'x'"),
        (
            "RECORDER_OPS__PRT",
            "1",
            "environment: RECORDER_OPS__PRT is no configuration key; did you mean RECORDER_OPS__PORT?",
        ),
        ("RECORDER_ARCHIVE", "{}", "environment: RECORDER_ARCHIVE is no configuration key; did you mean"),
        ("recorder_pears", "x", "environment: recorder_pears is no configuration key; did you mean RECORDER_PAIRS?"),
        (
            "RECORDER_ZZZZZZZZZZZZZZZZ",
            "x",
            "environment: RECORDER_ZZZZZZZZZZZZZZZZ is no configuration key; known are RECORDER_PAIRS, ",
        ),
    ],
)
def test_a_variable_that_cannot_be_used_or_that_nobody_knows_is_refused(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value).startswith(sentence)


def test_variables_of_other_programs_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDERS_UNION", "x")
    monkeypatch.setenv("MY_RECORDER_PAIRS", "x")
    assert load() == Config()
