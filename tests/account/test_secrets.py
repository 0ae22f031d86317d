"""Nothing secret in any file, log or screen of a whole run: by hand, beside the recorder, and after every mistake."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import structlog
from typer.testing import CliRunner

from recorder.cli import app
from recorder.clock import SystemClock
from recorder.config import AccountConfig, ArchiveConfig, Config, ExchangeConfig
from recorder.daemon import child_messages
from recorder.daemon.account_process import AccountProcess
from recorder.daemon.child_messages import environment
from recorder.sandbox.market import Market
from recorder.sandbox.private_account import PrivateAccount
from recorder.sandbox.private_rest import PrivateRest, SandboxKey
from recorder.sandbox.server import Sandbox
from tests.accounts import DAY_NS
from tests.end_to_end.harness import until
from tests.fakes import Fakes

NAME = "aB3+dE6/gH9jK2mN5pQ8sT1vW4yZ7aB3cD6eF9gH2jK5mN8pQ1sT4vW"
SECRET = base64.b64encode(bytes(range(100, 164))).decode()
OTP = "horse-staple 17+4"
FORMS = [
    *(form.encode() for text in (NAME, SECRET, OTP) for form in (text, quote_plus(text), text[:20], text[-20:])),
    base64.b64decode(SECRET),
    base64.b64decode(SECRET).hex().encode(),
    base64.b64encode(NAME.encode()).rstrip(b"="),
]


def assert_hidden(content: bytes, where: object) -> None:
    assert [form for form in FORMS if form in content] == [], where


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """The verbs set the log up for their process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


class Exchange:
    """A sandbox with a small account, whose key needs a second factor."""

    def __init__(self) -> None:
        clock = SystemClock()
        account = PrivateAccount()
        now_ns = clock.wall_ns()
        account.invent(trades=4, others=14, start_ns=now_ns - 3 * DAY_NS, end_ns=now_ns - DAY_NS)
        self.key = SandboxKey(NAME, SECRET, otp=OTP)
        self.rest = PrivateRest(account, [self.key])
        self.sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=0, history=1), clock=clock, private=self.rest)


def environ_of(folder: Path, url: str) -> dict[str, str]:
    return {
        "RECORDER_EXCHANGE__REST_URL": url,
        "RECORDER_ACCOUNT__KEY_FILE": str(folder / "key"),
        "RECORDER_ACCOUNT__TIER": "pro",
        "XDG_STATE_HOME": str(folder / "state"),
    }


def key_file(folder: Path, *, secret: str = SECRET, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.unlink(missing_ok=True)
    path.write_text(f"KRAKEN_API_KEY={NAME}\nKRAKEN_API_SECRET={secret}\nKRAKEN_API_OTP={OTP}\n")
    path.chmod(mode)
    return path


async def verb(*arguments: str, **environ: str) -> tuple[int, bytes]:
    """Run a verb in a thread of this process; return its exit code, and all that it printed."""
    found = await asyncio.to_thread(CliRunner().invoke, app, ["account", *arguments], env=environ)
    error = "" if found.exception is None else repr(found.exception) + str(found.exception)
    return found.exit_code, (found.output + error).encode()


async def test_a_run_by_hand_its_mistakes_and_its_files_show_nothing_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recorder.ops.process_setup.keep_secrets", lambda: None)  # it would hide the tests too
    monkeypatch.setattr("recorder.ops.process_setup.prepare", lambda: None)
    monkeypatch.setattr("recorder.runtime.stop.Stop.on_signals", lambda _: None)  # a thread may not
    exchange = Exchange()
    key_file(tmp_path)
    async with exchange.sandbox.serve() as sandbox:
        environ = environ_of(tmp_path, sandbox.rest_url)
        outputs = [
            (await verb(*arguments, **environ)) for arguments in (["check"], ["check", "--json"], ["run", "--once"])
        ]
        assert [code for code, _ in outputs] == [0, 0, 0], outputs
        assert b"only reads" in outputs[0][1]
        assert (tmp_path / "account" / "account_ledger").is_dir()
        for arguments in (
            ["status"],
            ["status", "--json"],
            ["sql", "FROM account_events"],
            ["export", "ledgers", "-o", "-"],
        ):
            outputs += [await verb(*arguments, **environ)]
        assert outputs[-1][1].startswith(b"txid,refid,time")

        key_file(tmp_path, mode=0o640)
        outputs.append(await verb("check", **environ))
        key_file(tmp_path, secret=SECRET[:-8] + "AAAAAA==")
        outputs += [await verb("check", **environ), await verb("run", "--once", **environ)]
        key_file(tmp_path, secret=SECRET[:-1])
        outputs.append(await verb("check", **environ))
        key_file(tmp_path)
        outputs.append(await verb("check", **environ | {"RECORDER_EXCHANGE__REST_URL": "http://kraken.example"}))
        outputs.append(await verb("check", **environ | {"RECORDER_ACCOUNT__KEY_FILE": SECRET}))
        outputs.append(await verb("check", **environ | {"RECORDER_ACCOUNT__KEY_FILE": str(tmp_path / NAME)}))
        outputs.append(await verb("check", **environ | {"RECORDER_ACCOUNT__SECRET": SECRET}))
        exchange.key.permissions = ("query-funds", "withdraw-funds")
        outputs.append(await verb("run", "--once", **environ))
        assert {code for code, _ in outputs[7:]} == {1}, "the runner shows errors as exceptions"
        for written in (
            f"account: {SECRET}",
            f"account: [{NAME}, {SECRET}]",
            f"account: {{key: {NAME}, secret: {SECRET}}}",
            f"account: {{key_file: [{SECRET}]}}",
            f"account: {{key_file: {SECRET}}}",
            f"account:\n  key_file: {SECRET}\n   secret: {SECRET}",
        ):
            (tmp_path / "mine.yaml").write_text(written)
            outputs.append(await verb("check", "--config", "mine.yaml"))
            assert outputs[-1][0] == 1, written
        (tmp_path / "mine.yaml").unlink()
    (tmp_path / "key").unlink()
    printed = capfd.readouterr()
    assert_hidden(f"{printed.out}{printed.err}".encode(), "the log")
    for number, (_, text) in enumerate(outputs):
        assert_hidden(text, number)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        assert_hidden(path.read_bytes() + str(path).encode(), path)
    for private in (tmp_path / "account", *tmp_path.glob("state/*/keys"), *tmp_path.glob("state/*/keys/*")):
        assert private.stat().st_mode & 0o077 == 0, private


async def test_the_process_beside_the_recorder_shows_nothing_of_the_key(
    tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    exchange = Exchange()
    for name, value in {"KRAKEN_API_KEY": NAME, "KRAKEN_API_SECRET": SECRET, "KRAKEN_API_OTP": OTP}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    async with exchange.sandbox.serve() as sandbox:
        config = Config(
            archive=ArchiveConfig(path=tmp_path / "data"),
            exchange=ExchangeConfig(rest_url=sandbox.rest_url),
            account=AccountConfig(record=True, tier="pro"),
        )
        process = AccountProcess(config, fakes.context)
        running = asyncio.create_task(process.run())
        events = tmp_path / "account" / "account_balances"
        await until(lambda: len(list(events.rglob("*.parquet"))) > 1, what="balances of the account")
        pid = process._pid
        assert pid is not None
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert arguments.split(b"\0")[1:3] == [b"-m", b"recorder.account"]
        assert_hidden(arguments, "arguments")
        if sys.platform == "linux":
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert next(line for line in limits.splitlines() if "core file" in line).split()[4:6] == ["0", "0"]
            # Its environment belongs to root alone, because it cannot be dumped.
            assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
        exchange.key.permissions = ("query-funds",)
        exchange.rest.keys.clear()
        process.stop()
        await running
    printed = capfd.readouterr()
    assert_hidden(f"{printed.out}{printed.err}{fakes.noted()}".encode(), "the log and events")
    assert_hidden(fakes.metrics.text(), "metrics")
    for path in tmp_path.rglob("*"):
        assert_hidden(path.read_bytes() if path.is_file() else b"", path)


def test_only_the_process_of_the_account_gets_the_key_from_the_environment() -> None:
    environ = {"KRAKEN_API_SECRET": SECRET, "kraken_api_key": NAME, "PATH": "/bin", "RECORDER_PAIRS": "A/B"}
    assert environment(environ) == {"PATH": "/bin"}
    assert "KRAKEN_API_SECRET" in environment(environ, key=True)
    line = child_messages.encode_config(Config(account=AccountConfig(record=True, key_file=Path("key"))))
    assert child_messages.decode_config(line).account.key_file == Path("key")
    assert SECRET.encode() not in line
