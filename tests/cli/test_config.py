from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

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


@given(
    st.fixed_dictionaries(
        {
            "ohlc": st.fixed_dictionaries({"refresh": st.sampled_from(["2s", "2.5s", "90s", "1m", "1h"])}),
            "archive": st.fixed_dictionaries({"drain_every": st.sampled_from(["auto", "100ms", "90m", "1d"])}),
            "journal": st.fixed_dictionaries({"keep": st.sampled_from(["0s", "36h", "3650d", "0.0005s"])}),
            "trades": st.fixed_dictionaries({"backfill_from": st.sampled_from(["nothing", "listing", "2024-01-31"])}),
        }
    )
)
def test_what_it_prints_is_a_file_that_says_the_same(written: dict[str, object]) -> None:
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()) as printed:
        path = Path(folder, "mine.yaml")
        path.write_text(yaml.safe_dump(written))
        config(path, as_json=False)
        again = path.with_name("again.yaml")
        again.write_text(printed.getvalue())
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
