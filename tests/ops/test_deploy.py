"""What lies in docs/deploy: every metric in it exists, and the tools that will read it accept it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from recorder.config import OpsConfig
from recorder.core.ledger import Ledger
from recorder.errors import Unavailable
from recorder.ops.metrics import Metrics
from recorder.ops.server import Face, serve
from tests.builders import PAIR, trades
from tests.ops.states import GOOD, TOKEN
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
NAME = re.compile(r"\b(?:recorder|process)_[a-z_]+\b")


def exposition() -> str:
    """What a daemon shows that has lived through everything."""
    metrics, ledger = Metrics(), Ledger()
    ledger.observe_trades(trades(1, 3))
    metrics.watch(ledger, [PAIR])
    metrics.rest_failed(Unavailable("x"))
    metrics.requested("/0/public/OHLC", None)
    metrics.candle_answers.labels("1m").inc()
    return metrics.text().decode()


def samples() -> set[str]:
    return {sample.name for family in text_string_to_metric_families(exposition()) for sample in family.samples}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here (Debian: prometheus has promtool, systemd has systemd-analyze)")
    return found


def run(*command: str | Path, cwd: Path = ROOT, said: str | None = None) -> str:
    done = subprocess.run(
        [*map(str, command)], check=False, cwd=cwd, input=said, capture_output=True, text=True, timeout=60
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def rules() -> list[dict[str, str]]:
    content = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


def test_every_alert_is_of_metrics_that_exist_and_is_explained_to_the_operator() -> None:
    for rule in rules():
        assert set(NAME.findall(rule["expr"])) <= samples(), rule["alert"]
    table = (ROOT / "docs" / "operations.md").read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [rule["alert"] for rule in rules()]


def test_every_panel_is_of_metrics_that_exist_and_every_metric_of_ours_is_on_one() -> None:
    board = json.loads((DEPLOY / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    shown = {name for expression in expressions for name in NAME.findall(expression)}
    assert shown <= samples()
    of_ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples() if name.startswith("recorder_")}
    assert of_ours - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} == set()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_promtool_finds_nothing_wrong_with_the_metrics() -> None:
    assert run(tool("promtool"), "check", "metrics", said=exposition()) == ""


def test_promtool_accepts_the_alerts_and_each_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    promtool = tool("promtool")
    shutil.copy(DEPLOY / "alerts.yml", tmp_path)
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    (scraping,) = (block for block in blocks if "scrape_configs:" in block)
    (tmp_path / "prometheus.yml").write_text(scraping)
    run(promtool, "check", "config", tmp_path / "prometheus.yml")  # and the rules that it names
    tests = Path(shutil.copy(ROOT / "tests" / "ops" / "alerts_test.yml", tmp_path))
    run(promtool, "test", "rules", tests, cwd=tmp_path)
    for name in (rule["alert"] for rule in rules()):
        assert f"alertname: {name}" in tests.read_text(), f"{name} is not tested"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    text = (DEPLOY / "kraken-recorder.service").read_text()
    assert re.search(r"^ExecReload=/bin/kill -HUP \$MAINPID$", text, flags=re.MULTILINE)
    binary = shutil.which("true")
    assert binary is not None
    unit = tmp_path / "kraken-recorder.service"
    unit.write_text(re.sub(r"^(Exec\w+)=\S+", rf"\1={binary}", text, flags=re.MULTILINE))
    assert run(analyze, "verify", "--recursive-errors=no", unit) == ""


def test_the_container_is_no_root_keeps_its_data_and_tells_its_health() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    last = [line for line in lines if not line.startswith("#")]
    assert [line.split()[1].count("/") for line in last if line.startswith("FROM ")] == [0, 0]
    assert "USER 10001:10001" in last
    assert "VOLUME /data" in last
    assert any("/health" in line for line in last)


async def test_a_real_prometheus_scrapes_it_with_the_token(tmp_path: Path) -> None:
    prometheus = tool("prometheus")
    port, own = free_port(), free_port()
    (tmp_path / "prometheus.yml").write_text(
        "scrape_configs: [{job_name: kraken-recorder, scrape_interval: 1s, "
        f"authorization: {{credentials: {TOKEN}}}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]"
    )
    metrics, ledger = Metrics(), Ledger()
    ledger.observe_trades(trades(1, 3))
    metrics.watch(ledger, [PAIR])
    face = Face(metrics, lambda: GOOD, dict)
    async with serve(OpsConfig(port=port, token=SecretStr(TOKEN)), face), aiohttp.ClientSession() as client:
        scraper = await asyncio.create_subprocess_exec(
            prometheus,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{own}",
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def scraped(expression: str) -> list[dict[str, Any]]:
            with contextlib.suppress(aiohttp.ClientError):
                url = f"http://127.0.0.1:{own}/api/v1/query"
                async with client.get(url, params={"query": expression}) as answer:
                    if answer.status == 200:
                        return list((await answer.json())["data"]["result"])
            return []

        try:
            async with asyncio.timeout(60):
                while not (found := await scraped("recorder_last_trade_timestamp_seconds")):
                    await asyncio.sleep(0.1)
            assert found[0]["metric"]["pair"] == PAIR
            (up,) = await scraped('up{job="kraken-recorder"}')
            assert up["value"][1] == "1"
        finally:
            scraper.kill()
            await scraper.wait()
