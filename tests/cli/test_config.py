from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from recorder.cli.config import config
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
    assert content["journal"]["sync_every"] == 0.05
    assert content["ops"]["port"] == 0
    config(path, as_json=False)
    assert yaml.safe_load(capsys.readouterr().out) == content


def test_a_mistake_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("pears: [ETH/USD]\n")
    with pytest.raises(ConfigError, match="pears"):
        config(path, as_json=False)
