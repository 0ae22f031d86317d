from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from recorder.cli.config import config
from recorder.config import Config, load
from recorder.errors import ConfigError


def test_config_prints_what_is_in_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("pairs: [ETH/USD]\njournal: {sync_every: 50ms}\n")
    monkeypatch.setenv("RECORDER_OPS__PORT", "0")
    config(path, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["pairs"] == ["ETH/USD"]
    assert content["journal"]["sync_every"] == "50ms"
    assert content["ops"]["port"] == 0
    config(path, as_json=False)
    assert yaml.safe_load(capsys.readouterr().out) == content


@pytest.mark.parametrize(
    "said",
    [
        ("1m", "auto", "7d", "nothing", "forever"),
        ("2.5s", "100ms", "0s", "listing", "90d"),
        ("90s", "90m", "36h", "2024-01-31", "36h"),
        ("1h", "1d", "0.0005s", "nothing", "forever"),
    ],
)
def test_what_it_prints_is_a_file_that_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: tuple[str, ...]
) -> None:
    refresh, drain_every, keep, backfill_from, quotes_keep = said
    path, again = tmp_path / "mine.yaml", tmp_path / "again.yaml"
    path.write_text(
        f"ohlc: {{refresh: {refresh}}}\narchive: {{drain_every: {drain_every}}}\n"
        f"journal: {{keep: {keep}}}\ntrades: {{backfill_from: {backfill_from}}}\n"
        f"quotes: {{pairs: [BTC/USD, '*/EUR'], keep: {quotes_keep}}}\n"
    )
    config(path, as_json=False)
    again.write_text(capsys.readouterr().out)
    assert load(again) == load(path)


def test_the_example_is_every_default(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config(example=True)
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out)
    assert load(tmp_path / "config.yaml") == Config()


def test_all_mistakes_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("pears: [ETH/USD]\narchives: {}\nohlc: {refersh: 1m, refresh: 9}\n")
    monkeypatch.setenv("RECORDER_OPS__PROT", "0")
    with pytest.raises(ConfigError) as caught:
        config(path, as_json=False)
    for wrong in ("pears", "archives", "ohlc.refersh", "ohlc.refresh is 9", "RECORDER_OPS__PROT"):
        assert wrong in str(caught.value)


def test_a_mistake_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("pears: [ETH/USD]\n")
    with pytest.raises(ConfigError, match="pears"):
        config(path, as_json=False)
