"""The client of private endpoints, against the sandbox's own checks of keys, signatures, nonces and counters."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from recorder.account.client import PrivateClient
from recorder.account.credentials import OTP, Credentials
from recorder.account.exchange_time import ExchangeTime
from recorder.account.key_use import KeyUseFile, folder
from recorder.clock import SystemClock
from recorder.core.nonces import TIERS, KeyUse
from recorder.disk import Disk
from recorder.errors import (
    ClockWrong,
    DiskError,
    ExchangeError,
    InvalidKey,
    InvalidNonce,
    KeyRefused,
    Malformed,
    PermissionDenied,
    RateLimited,
    StorageError,
    Unavailable,
)
from recorder.kraken import private_api
from recorder.net.http import client_session
from recorder.sandbox.private_account import PrivateAccount
from recorder.sandbox.private_rest import LOCKOUT_AFTER, Counter
from tests.accounts import NAME, PRIVATE, Bench, credentials
from tests.servers import Serve

INFO = private_api.key_info()
OTHER = PRIVATE[:-6] + "AAAAA="


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, PrivateAccount())


async def test_steps_of_the_clock_restarts_and_two_clients_never_reuse_a_nonce_or_go_back(bench: Bench) -> None:
    bench.tier = "pro"
    for step_s in (0, -50, 30, -59, 0, 59, -30):
        bench.clock.step(step_s)
        bench.unixtime = lambda: bench.clock.wall_ns() // 10**9
        one, other = bench.client(), bench.client()
        await asyncio.gather(*(client.request(INFO) for client in (one, other, one, other)))
    assert len(bench.rest.nonces) == 28
    assert bench.rest.nonces == sorted(set(bench.rest.nonces))
    assert bench.rest.refusals == []
    last = bench.rest.nonces[-1]
    (record,) = (bench.folder / "keys").iterdir()
    assert json.loads(record.read_bytes())["nonce"] == last
    assert record.stat().st_mode & 0o777 == 0o600
    assert record.parent.stat().st_mode & 0o777 == 0o700


async def test_the_nonce_is_on_disk_before_it_is_sent_and_the_lock_is_kept_until_the_answer(bench: Bench) -> None:
    path = bench.folder / "keys" / f"{credentials().fingerprint}.json"

    def look(_path: str) -> None:
        nonce = json.loads(path.read_bytes())["nonce"]
        assert nonce > max(bench.rest.nonces, default=0), "what will be sent is there"
        with path.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen.append(nonce)

    seen: list[int] = []
    bench.before = look
    await bench.client().request(INFO)
    assert seen == bench.rest.nonces


async def test_a_refused_nonce_is_followed_by_one_more_and_then_by_the_cause(bench: Bench) -> None:
    bench.key.last_nonce = bench.clock.wall_ns() + 10**9
    with pytest.raises(InvalidNonce, match=r"another tool or machine.*restored.*clock.*Make a new key"):
        await bench.client().patiently(INFO)
    assert len(bench.requests) == 2
    bench.requests.clear()
    bench.clock.move(2.0)
    await bench.client().patiently(INFO)
    assert len(bench.requests) == 1


@pytest.mark.parametrize("key", [credentials(private=OTHER), credentials(name="x" * 56)])
async def test_a_key_that_is_refused_is_sent_once_and_never_again_by_any_process(
    key: Credentials, bench: Bench
) -> None:
    with pytest.raises(InvalidKey, match="not tried again"):
        await bench.client(key).patiently(INFO)
    for _ in range(LOCKOUT_AFTER):
        with pytest.raises(InvalidKey, match="refused this key before"):
            await bench.client(key).patiently(INFO)
    assert len(bench.requests) == 1
    await bench.client(credentials()).patiently(INFO)  # the right one is not concerned
    await bench.client(key).forgive()
    with pytest.raises(InvalidKey):
        await bench.client(key).patiently(INFO)
    assert len(bench.requests) == 3


async def test_a_lockout_is_waited_out_in_silence(bench: Bench) -> None:
    began_s = bench.clock.monotonic()
    bench.rest._locked_until_s = bench.clock.wall_ns() / 1e9 + 800
    await bench.client().patiently(INFO)
    assert len(bench.requests) == 2
    assert bench.clock.monotonic() - began_s >= 800


async def test_requests_keep_to_the_counter_of_the_tier_and_a_refusal_is_taken_as_a_full_one(bench: Bench) -> None:
    bench.rest.counter = counter = Counter()
    bench.tier = "starter"
    for _ in range(30):
        await bench.client().patiently(private_api.balances())  # a restart begins with the same counter
    assert counter.refused == 0
    counter.value = counter.most  # another program used the key
    counter.at_s = bench.clock.wall_ns() / 1e9
    await bench.client().patiently(private_api.balances())
    assert counter.refused <= 2


@pytest.mark.parametrize(("off_s", "sent"), [(59, 1), (-58, 1), (62, 0), (-3600, 0), (86_400 * 365, 0)])
async def test_nothing_is_sent_while_the_clock_is_more_than_a_minute_off(off_s: int, sent: int, bench: Bench) -> None:
    bench.unixtime = lambda: bench.clock.wall_ns() // 10**9 - off_s
    if sent:
        await bench.client().request(INFO)
    else:
        with pytest.raises(ClockWrong, match="ahead of" if off_s > 0 else "behind"):
            await bench.client().request(INFO)
    assert len(bench.requests) == sent


async def test_a_step_of_the_clock_between_two_requests_is_noticed(bench: Bench) -> None:
    true_ns, client = bench.clock.wall_ns, bench.client()
    bench.unixtime = lambda: (true_ns() - stepped_s * 10**9) // 10**9
    stepped_s = 0
    await client.request(INFO)
    bench.clock.step(100.0)
    stepped_s = 100
    with pytest.raises(ClockWrong):
        await client.request(INFO)
    bench.clock.step(-100.0)
    stepped_s = 0
    await client.request(INFO)
    assert len(bench.requests) == 2


async def test_a_second_factor_is_sent_and_a_missing_right_is_named(bench: Bench) -> None:
    bench.key.otp = "a word+1"
    with pytest.raises(PermissionDenied, match="second factor"):
        await bench.client().request(INFO)
    await bench.client(credentials(**{OTP: "a word+1"})).request(INFO)
    bench.key.otp, bench.key.permissions = None, ("query-funds",)
    with pytest.raises(PermissionDenied, match="needs the right query-ledger"):
        await bench.client().patiently(private_api.ledgers(private_api.Window(None, 5), 0))


async def test_a_record_that_is_damaged_or_not_private_stops_everything(bench: Bench) -> None:
    await bench.client().request(INFO)
    (record,) = (bench.folder / "keys").iterdir()
    whole = record.read_bytes()
    for content in (b"{", b"\0" * 256, b'{"nonce":-1}', b'{"nonce":36893488147419103232}', whole + b"x", b"null"):
        record.write_bytes(content)
        with pytest.raises(StorageError, match="is damaged"):
            await bench.client().request(INFO)
    record.write_bytes(whole)
    record.chmod(0o622)
    with pytest.raises(DiskError, match="you alone can write"):
        await bench.client().request(INFO)
    record.rename(record.with_suffix(".other"))
    record.symlink_to(record.with_suffix(".other"))
    with pytest.raises(DiskError):
        await bench.client().request(INFO)
    record.unlink()
    await bench.client().request(INFO)  # without one the clock gives the next nonce
    assert bench.rest.nonces == sorted(set(bench.rest.nonces))


async def test_a_record_that_is_removed_while_it_is_awaited_locks_nothing_any_more(bench: Bench) -> None:
    use = KeyUseFile(bench.folder / "keys", "f", Disk(), bench.clock)
    async with use.held() as held:
        held.write(KeyUse(nonce=5))
        bench.clock.stop()
        waiting = asyncio.create_task(use.held().__aenter__())
        await asyncio.sleep(0)
        (bench.folder / "keys" / "f.json").unlink()
    bench.clock.go_on()
    assert (await waiting).read() == KeyUse(), "the new record"


@pytest.mark.parametrize("url", ["http://api.kraken.com", "http://192.168.1.5:80", "ftp://api.kraken.com", "http://"])
def test_no_key_is_sent_where_others_could_read_it(url: str, bench: Bench) -> None:
    use = KeyUseFile(bench.folder, "f", Disk(), bench.clock)
    with pytest.raises(KeyRefused, match="no https"):
        PrivateClient(
            None,  # type: ignore[arg-type]  # nothing is sent
            url,
            credentials(),
            use,
            allowance=TIERS["pro"],
            time=ExchangeTime(None, bench.clock),  # type: ignore[arg-type]
            clock=bench.clock,
        )


def test_records_are_in_the_folder_of_state_of_the_user() -> None:
    assert folder({"XDG_STATE_HOME": "/s"}) == Path("/s/kraken-recorder/keys")
    assert folder({"HOME": "/h"}) == Path("/h/.local/state/kraken-recorder/keys")


@contextlib.asynccontextmanager
async def over_http(address: str, tmp_path: Path) -> AsyncIterator[PrivateClient]:
    clock = SystemClock()

    async def time(_: object) -> bytes:
        return b'{"unixtime":%d}' % (clock.wall_ns() // 10**9)

    async with client_session() as session:
        yield PrivateClient(
            session,
            f"http://{address}",
            credentials(),
            KeyUseFile(tmp_path / "keys", "f", Disk(), clock),
            allowance=TIERS["pro"],
            time=ExchangeTime(time, clock),
            clock=clock,
        )


async def test_nothing_that_an_answer_repeats_of_the_key_reaches_an_error(serve: Serve, tmp_path: Path) -> None:
    """Servers that echo the key in every part of an answer, redirect elsewhere, or answer anything."""
    elsewhere: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        echo = f"{request.headers['API-Key']} {PRIVATE} {await request.text()}"
        match request.path.rpartition("/")[2]:
            case "GetApiKeyInfo":
                return web.json_response({"error": [f"EGeneral:Invalid arguments:{echo}"]})
            case "BalanceEx":
                return web.Response(text=f"<html>{echo}</html>", status=200)
            case "Ledgers":
                elsewhere.append(request.host)
                return web.Response(
                    status=302, headers={"Location": f"http://127.0.0.1:1/{request.headers['API-Key']}"}
                )
            case _:
                return web.json_response({"echo": echo})

    window = private_api.Window(None, 5)
    requests = [INFO, private_api.balances(), private_api.ledgers(window, 0), private_api.trades_history(window, 0)]
    async with serve(handle) as address, over_http(address, tmp_path) as client:
        for request, kind in zip(requests, (ExchangeError, Unavailable, Unavailable, Malformed), strict=True):
            with pytest.raises(kind) as caught:
                await client.request(request)
            message = f"{caught.value} {caught.value.args}"
            assert NAME not in message
            assert PRIVATE not in message
    assert len(elsewhere) == 1, "a redirect is not followed: it would take the key along"


async def test_a_throttled_key_pauses_and_an_edge_that_is_down_is_asked_again(bench: Bench) -> None:
    answers = iter(["EAPI:Rate limit exceeded", "EService:Busy", "EGeneral:Internal error"])
    answer = bench.rest.answer

    def refusing(method: str, headers: dict[str, str], body: str, *, now_ns: int) -> str:
        error = next(answers, None)
        return answer(method, headers, body, now_ns=now_ns) if error is None else json.dumps({"error": [error]})

    bench.rest.answer = refusing  # type: ignore[assignment,method-assign]
    await bench.client().patiently(INFO)
    assert len(bench.requests) == 4
    answers = iter(["EAPI:Rate limit exceeded"] * 3)
    with pytest.raises(RateLimited):
        await bench.client().patiently(INFO, attempts=3)
    assert os.environ.get("KRAKEN_API_KEY") is None
