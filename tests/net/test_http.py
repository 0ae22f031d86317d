from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import os
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from recorder.core.throttling import FIRST_PAUSE_S, FORBIDDEN_PAUSE_S, LONGEST_PAUSE_S, WHOLE_WITHIN_S, Pace
from recorder.errors import ExchangeError, Forbidden, Malformed, RateLimited, Unavailable, UnknownPair
from recorder.kraken.rest_api import Request
from recorder.net import http
from recorder.net.http import USER_AGENT, Http, HttpAnswer, client_session, proxy_for
from recorder.net.rate_limit import SharedRateLimit
from recorder.net.websocket import dial
from recorder.version import __version__
from tests.clocks import ManualClock
from tests.servers import Handler, Listen, Serve

GOOD = b'{"error":[],"result":{"a":"1.500"}}'
ASK = Request("/0/public/Trades", (("pair", "XBTUSD"), ("since", "5")))
WALL_S = 1_790_359_800


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(WALL_S * 10**9, eager=True)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_session() as session:
        yield session


def starts(client: aiohttp.ClientSession, clock: ManualClock) -> list[float]:
    """Return a list that will hold when each request of ``client`` started."""
    moments: list[float] = []

    async def started(*_: object) -> None:
        moments.append(clock.monotonic())

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(started)
    trace.freeze()
    client.trace_configs.append(trace)
    return moments


THROTTLED = json.dumps({"error": [f"EService: Throttled: {WALL_S + 42}"]}).encode()


def answering(*answers: tuple[int, bytes, dict[str, str]] | bytes) -> Handler:
    """Answer one after the other, and the last for ever."""
    waiting = list(answers)

    async def handle(_request: web.Request) -> web.Response:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        status, body, headers = (200, answer, {}) if isinstance(answer, bytes) else answer
        return web.Response(status=status, body=body, headers=headers)

    return handle


async def test_a_good_answer_carries_its_time_its_body_and_its_result(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    async with serve(answering(GOOD)) as address:
        got = await Http(client, f"http://{address}/", pace=Pace(1.0), clock=clock).get(ASK)
    assert (got.recv_ns, got.body, got.result) == (WALL_S * 10**9, GOOD, b'{"a":"1.500"}')


async def test_it_says_who_calls_and_asks_exactly_what_the_request_says(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    seen = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.method, request.raw_path, request.headers["User-Agent"]))
        return web.Response(body=GOOD)

    async with serve(handle) as address:
        await Http(client, f"http://{address}", pace=Pace(1.0), clock=clock).get(
            Request("/0/public/Trades", (("pair", "BTC/USD"), ("since", "1790359841138228746")))
        )
    assert seen == [("GET", "/0/public/Trades?pair=BTC%2FUSD&since=1790359841138228746", USER_AGENT)]
    assert f"kraken-recorder/{__version__}" in USER_AGENT


async def test_a_compressed_answer_is_read(serve: Serve, client: aiohttp.ClientSession, clock: ManualClock) -> None:
    async with serve(answering((200, gzip.compress(GOOD), {"Content-Encoding": "gzip"}))) as address:
        assert (await Http(client, f"http://{address}", pace=Pace(1.0), clock=clock).get(ASK)).body == GOOD


async def test_requests_start_at_the_pace_whether_one_asks_or_many(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    moments = starts(client, clock)
    async with serve(answering(GOOD)) as address:
        paced = Http(client, f"http://{address}", pace=Pace(2.0), clock=clock)
        for _ in range(3):
            await paced.get(ASK)
        await asyncio.gather(*(paced.get(ASK) for _ in range(4)))
    assert moments == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b'{"error":["EGeneral:Too many requests"]}', RateLimited),
        ((429, b"<html>slow down</html>", {}), RateLimited),
        ((403, b"<html>go away</html>", {}), Forbidden),
        *(((status, b"<html>Cloudflare</html>", {}), Unavailable) for status in (500, 502, 503, 504, 520, 530)),
        ((200, b"<html>maintenance</html>", {"Content-Type": "text/html"}), Unavailable),
        (b"", Unavailable),
        (b'{"error":[],"resu', Unavailable),
        (b'["surprise"]', Malformed),
        (b'{"error":["EService:Unavailable"]}', Unavailable),
        (b'{"error":["EQuery:Unknown asset pair"]}', UnknownPair),
        ((200, b"not gzip at all", {"Content-Encoding": "gzip"}), Unavailable),
    ],
)
async def test_every_bad_answer_is_raised_as_the_error_that_it_is(
    serve: Serve,
    client: aiohttp.ClientSession,
    clock: ManualClock,
    answer: tuple[int, bytes, dict[str, str]] | bytes,
    kind: type[ExchangeError],
) -> None:
    async with serve(answering(answer)) as address:
        with pytest.raises(kind) as caught:
            await Http(client, f"http://{address}", pace=Pace(1.0), clock=clock).get(ASK)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("answer", "pause_s"),
    [
        (b'{"error":["EGeneral:Too many requests"]}', FIRST_PAUSE_S),
        (b'{"error":["EAPI:Rate limit exceeded"]}', FIRST_PAUSE_S),
        ((200, THROTTLED, {"Date": formatdate(WALL_S)}), 42.0),
        ((200, THROTTLED, {"Date": formatdate(WALL_S + 10)}), 32.0),  # the host's clock is behind
        ((200, THROTTLED, {"Date": "now"}), 42.0),
        ((429, b"", {}), FIRST_PAUSE_S),
        ((429, b"", {"Retry-After": "33"}), 33.0),
        ((429, b"", {"Retry-After": "Wed, 21 Oct 2025 07:28:00 GMT"}), FIRST_PAUSE_S),
        ((429, b"", {"Retry-After": formatdate(WALL_S + 60), "Date": formatdate(WALL_S)}), 60.0),
        ((429, b"", {"Retry-After": formatdate(WALL_S + 60), "Date": formatdate(WALL_S + 20)}), 40.0),
        ((429, b"", {"Retry-After": formatdate(WALL_S + 86_400), "Date": formatdate(WALL_S)}), LONGEST_PAUSE_S),
        ((429, b"", {"Retry-After": "9" * 400}), FIRST_PAUSE_S),
        ((429, b"", {"Retry-After": "99999"}), LONGEST_PAUSE_S),
        ((403, b"", {}), FORBIDDEN_PAUSE_S),
        ((403, b"", {"Retry-After": "30"}), 30.0),
        ((503, b"", {"Retry-After": "25"}), 25.0),
        ((302, b"", {"Retry-After": "25", "Location": "/0/public/Trades"}), 25.0),
        ((200, b'{"error":["EService:Unavailable"]}', {"Retry-After": "25"}), 25.0),
        ((200, b'{"error":["EGeneral:Too many requests"]}', {"Retry-After": "25"}), 25.0),
    ],
)
async def test_a_throttle_stops_every_later_request_for_as_long_as_it_asks(
    serve: Serve,
    client: aiohttp.ClientSession,
    clock: ManualClock,
    answer: tuple[int, bytes, dict[str, str]] | bytes,
    pause_s: float,
) -> None:
    async with serve(answering(answer, GOOD)) as address:
        paced = Http(client, f"http://{address}", pace=Pace(10.0), clock=clock)
        with pytest.raises(ExchangeError):
            await paced.get(ASK)
        await paced.get(ASK)
    assert clock.monotonic() == pytest.approx(pause_s)


async def test_those_who_waited_when_the_throttle_came_go_one_by_one_after_it(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    moments = starts(client, clock)
    clock.stop()
    async with serve(answering(b'{"error":["EGeneral:Too many requests"]}', GOOD)) as address:
        paced = Http(client, f"http://{address}", pace=Pace(1.0), clock=clock)
        first, *others = [asyncio.ensure_future(paced.get(ASK)) for _ in range(4)]
        with pytest.raises(RateLimited):
            await first
        clock.go_on()
        await asyncio.gather(*others)
    assert moments[:2] == [0.0, FIRST_PAUSE_S]
    gaps = [later - sooner for sooner, later in itertools.pairwise(moments[1:])]
    assert all(1.9 < gap <= 2.0 for gap in gaps)  # half the pace, and a little won back


async def test_an_exchange_that_nobody_answers_for_is_out_of_reach(
    nobody: str, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    with pytest.raises(Unavailable, match=f"cannot reach http://{nobody}/0/public/Trades: Connection refused$"):
        await Http(client, f"http://{nobody}", pace=Pace(1.0), clock=clock).get(ASK)


async def test_an_answer_that_does_not_come_in_time_says_so(serve: Serve, clock: ManualClock) -> None:
    async def handle(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serve(handle) as address, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.05)) as client:
        with pytest.raises(Unavailable, match=r"did not answer in time \(.+\)"):
            await Http(client, f"http://{address}", pace=Pace(1.0), clock=clock).get(ASK)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + GOOD,
    ],
)
async def test_a_body_cut_short_is_an_exchange_out_of_reach(
    listen: Listen, client: aiohttp.ClientSession, clock: ManualClock, said: bytes
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()

    async with listen(talk) as address:
        with pytest.raises(Unavailable, match=r"cannot reach .+: .+"):
            await Http(client, f"http://{address}", pace=Pace(1.0), clock=clock).get(ASK)


async def test_a_body_beyond_all_measure_is_not_taken_in(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 100_000)
    packed = gzip.compress(b"[" * 10_000_000)
    async with serve(answering((200, packed, {"Content-Encoding": "gzip"}))) as address:
        with pytest.raises(Unavailable, match="answered more than 100000 bytes"):
            await Http(client, f"http://{address}", pace=Pace(1.0), clock=clock).get(ASK)


async def test_who_gives_up_waiting_does_not_hold_up_the_others(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    async with serve(answering(GOOD)) as address:
        paced = Http(client, f"http://{address}", pace=Pace(1.0), clock=clock)
        waiting = [asyncio.ensure_future(paced.get(ASK)) for _ in range(4)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in done] == [False, True, False, False]


# -- refusals ---------------------------------------------------------------------------------------------------------

THROTTLED = b'{"error":["EGeneral:Too many requests"]}'


class Told:
    """Who is told of refusals; with ``when`` it was told and what."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.heard: list[tuple[float, str, str, float, float]] = []
        self.scopes: list[str] = []

    async def __call__(self, *, reason: str, path: str, scope: str, pause_s: float, per_s: float) -> None:
        self.heard.append((self._clock.monotonic(), reason, path, pause_s, per_s))
        self.scopes.append(scope)


async def test_each_refusal_is_told_once_with_its_pause_and_the_pace_after_it(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    told = Told(clock)
    throttle = (429, b"", {"Retry-After": "33"})
    async with serve(answering(THROTTLED, throttle, (403, b"<html>no</html>", {}), (502, b"", {}), GOOD)) as address:
        paced = Http(client, f"http://{address}", pace=Pace(4.0), clock=clock, refused=told)
        for _ in range(4):
            with pytest.raises(ExchangeError):
                await paced.get(ASK)
        await paced.get(ASK)
    assert [(path, pause_s) for _, _, path, pause_s, _ in told.heard] == [
        (ASK.path, FIRST_PAUSE_S),
        (ASK.path, 33.0),
        (ASK.path, FORBIDDEN_PAUSE_S),
    ]
    assert [reason[:40] for _, reason, *_ in told.heard] == [
        "Kraken answered 'EGeneral:Too many reque",
        "Kraken's edge answered 429 Too Many Requ",
        "Kraken's edge answered 403 Forbidden: ou",
    ]
    assert [per_s for *_, per_s in told.heard] == pytest.approx([2.0, 2.0, 1.0], rel=0.05)


async def test_whoever_is_told_of_a_refusal_cannot_delay_the_pause(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    moments, may_end = starts(client, clock), asyncio.Event()

    async def slowly(*, reason: str, path: str, scope: str, pause_s: float, per_s: float) -> None:
        await may_end.wait()

    async with serve(answering(THROTTLED, GOOD)) as address:
        paced = Http(client, f"http://{address}", pace=Pace(10.0), clock=clock, refused=slowly)
        first = asyncio.ensure_future(paced.get(ASK))
        while paced._refusals == 0:
            await asyncio.sleep(0)
        await paced.get(ASK)
        may_end.set()
        with pytest.raises(RateLimited):
            await first
    assert moments == [0.0, FIRST_PAUSE_S]


@pytest.mark.parametrize("refusal", [THROTTLED, (429, b"", {}), (403, b"", {})], ids=["throttle", "429", "403"])
async def test_nothing_is_sent_in_a_pause_by_any_of_several_tasks(
    serve: Serve,
    client: aiohttp.ClientSession,
    clock: ManualClock,
    refusal: tuple[int, bytes, dict[str, str]] | bytes,
) -> None:
    told, sent = Told(clock), list[tuple[float, int]]()

    async def went_out(*_: object) -> None:
        sent.append((clock.monotonic(), len(told.heard)))

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(went_out)
    trace.freeze()
    client.trace_configs.append(trace)
    async with serve(answering(*([GOOD] * 4 + [refusal]) * 6, GOOD)) as address:
        paced = Http(client, f"http://{address}", pace=Pace(5.0), clock=clock, refused=told)

        async def task() -> None:
            for _ in range(12):
                with contextlib.suppress(ExchangeError):
                    await paced.get(ASK)

        await asyncio.gather(*(task() for _ in range(4)))
    assert len(told.heard) == 6
    assert len(sent) == 48
    for number, (at_s, _, _, pause_s, _) in enumerate(told.heard, start=1):
        assert all(sent_s >= at_s + pause_s - 1e-9 for sent_s, heard in sent if heard >= number)


async def test_a_request_that_was_connecting_when_a_pause_began_waits_it_out(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    arrived: list[float] = []
    first_came, may_refuse, may_connect = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(_request: web.Request) -> web.Response:
        arrived.append(clock.monotonic())
        if len(arrived) == 1:
            first_came.set()
            await may_refuse.wait()
            return web.Response(body=THROTTLED)
        return web.Response(body=GOOD)

    async def connecting(*_: object) -> None:
        if first_came.is_set():
            await may_connect.wait()

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(connecting)
    trace.freeze()
    client.trace_configs.append(trace)
    async with serve(handle) as address:
        paced = Http(client, f"http://{address}", pace=Pace(10.0), clock=clock)
        first = asyncio.ensure_future(paced.get(ASK))
        await first_came.wait()
        second = asyncio.ensure_future(paced.get(ASK))
        while clock.monotonic() == 0.0:  # until its turn has come, and it connects
            await asyncio.sleep(0)
        may_refuse.set()
        with pytest.raises(RateLimited):
            await first
        may_connect.set()
        await second
    assert arrived == [0.0, pytest.approx(0.1 + FIRST_PAUSE_S)]


OTHER, THIRD = Request("/0/public/OHLC", (("pair", "XBTUSD"),)), Request("/0/public/SystemStatus")


def refusing(status: int, *paths: str, headers: dict[str, str] | None = None) -> Handler:
    """Refuse these paths for good."""

    async def handle(request: web.Request) -> web.Response:
        if request.path in paths:
            return web.Response(status=status, headers=headers)
        return web.Response(body=GOOD)

    return handle


@pytest.mark.parametrize("status", [403, 429])
async def test_a_refusal_of_the_edge_pauses_its_path_alone(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock, status: int
) -> None:
    told, came = Told(clock), list[tuple[str, float]]()
    async with serve(refusing(status, ASK.path, headers={"Retry-After": "100"})) as address:
        paced = Http(client, f"http://{address}", pace=Pace(1.0), clock=clock, refused=told)

        async def ask(request: Request) -> None:
            with contextlib.suppress(ExchangeError):
                await paced.get(request)
            came.append((request.path, clock.monotonic()))

        await ask(ASK)
        assert paced.paused_s() == 100.0
        await ask(OTHER)
        await clock.sleep(1.0)
        clock.stop()
        waiting = asyncio.ensure_future(ask(ASK))
        await asyncio.sleep(0)
        await ask(OTHER)
        clock.go_on()
        await waiting
    assert came == [
        (ASK.path, 0.0),
        (OTHER.path, pytest.approx(1.0)),
        (OTHER.path, pytest.approx(2.0)),
        (ASK.path, pytest.approx(100.0)),
    ]
    assert told.scopes == ["path", "path"]


@pytest.mark.parametrize(("apart_s", "scope"), [(1.0, "rest"), (WHOLE_WITHIN_S + 1, "path")])
async def test_two_paths_refused_within_a_minute_stop_everything(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock, apart_s: float, scope: str
) -> None:
    told = Told(clock)
    async with serve(refusing(403, ASK.path, OTHER.path)) as address:
        paced = Http(client, f"http://{address}", pace=Pace(1.0), clock=clock, refused=told)
        for request in (ASK, OTHER):
            with pytest.raises(Forbidden):
                await paced.get(request)
            await clock.sleep(apart_s)
        second_s = clock.monotonic() - apart_s
        await paced.get(THIRD)
        waited_s = clock.monotonic() - second_s
    assert told.scopes == ["path", scope]
    assert waited_s == pytest.approx(FORBIDDEN_PAUSE_S if scope == "rest" else apart_s)


async def test_a_refusal_elsewhere_stops_all_of_rest(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    told = Told(clock)
    async with serve(answering(GOOD)) as address:
        paced = Http(client, f"http://{address}", pace=Pace(1.0), clock=clock, refused=told)
        await paced.pause(200.0, reason="HTTP 429", path="/v2")
        await paced.get(ASK)
        assert clock.monotonic() == pytest.approx(200.0)
        await paced.get(ASK)
    assert clock.monotonic() == pytest.approx(201.0), "by no fault of the pace of REST"
    assert told.heard == [(0.0, "HTTP 429", "/v2", 200.0, 1.0)]
    assert told.scopes == ["all"]


async def test_a_request_whose_connection_is_reset_is_not_repeated_unasked(
    listen: Listen, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    came: list[float] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            came.append(clock.monotonic())
            if len(came) == 2:  # on a connection that has served one before
                assert isinstance(writer.transport, asyncio.Transport)
                writer.transport.abort()
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD))
            await writer.drain()

    async with listen(talk) as address:
        paced = Http(client, f"http://{address}", pace=Pace(1.0), clock=clock)
        await paced.get(ASK)
        with pytest.raises(Unavailable, match="cannot reach"):
            await paced.get(ASK)
        await paced.get(ASK)
    assert came == [0.0, pytest.approx(1.0), pytest.approx(2.0)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_says_where_it_would_lead(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock, status: int
) -> None:
    elsewhere: list[str] = []

    async def other(request: web.Request) -> web.Response:
        elsewhere.append(request.path)
        return web.Response(body=GOOD)

    async with serve(other) as host, serve(answering((status, b"", {"Location": f"http://{host}/x"}))) as address:
        with pytest.raises(Unavailable, match=rf"HTTP {status}, a redirect to http://{host}/x, is not followed: check"):
            await Http(client, f"http://{address}", pace=Pace(1.0), clock=clock).get(ASK)
    assert elsewhere == []


async def test_an_envelope_that_cannot_be_read_is_raised_with_its_body(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    async with serve(answering(b'["surprise"]')) as address:
        with pytest.raises(Malformed) as caught:
            await Http(client, f"http://{address}", pace=Pace(1.0), clock=clock).get(ASK)
    assert caught.value.body == b'["surprise"]'


async def test_processes_that_share_turns_keep_one_pace_and_pause_together(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock, tmp_path: Path
) -> None:
    moments = starts(client, clock)
    turns = SharedRateLimit(tmp_path / "turns", clock)
    async with serve(answering(GOOD, GOOD, GOOD, GOOD, (429, b"", {"Retry-After": "40"}), GOOD)) as host:
        one, other = (Http(client, f"http://{host}", pace=Pace(2.0), clock=clock, rate_limit=turns) for _ in range(2))
        for caller in (one, other, one, other):
            await caller.get(ASK)
        assert moments == pytest.approx([0.0, 0.5, 1.0, 1.5])
        with pytest.raises(RateLimited):
            await one.get(ASK)
        await other.get(ASK)
    assert moments[-1] == pytest.approx(moments[-2] + 40.0)


@pytest.mark.parametrize(
    ("date", "date_s"), [("Fri, 25 Sep 2026 18:10:41 GMT", 1_790_359_841), ("soon", None), ("", None)]
)
async def test_an_answer_carries_the_servers_time_if_it_is_one(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock, date: str, date_s: int | None
) -> None:
    async with serve(answering((200, GOOD, {"Date": date}))) as host:
        answer = await Http(client, f"http://{host}", pace=Pace(2.0), clock=clock).get(ASK)
    assert answer.date_s == date_s


async def test_whoever_wants_to_know_is_told_how_each_request_has_ended(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock, nobody: str
) -> None:
    told: list[tuple[Request, object]] = []

    def ended(request: Request, how: HttpAnswer | ExchangeError) -> None:
        told.append((request, how))

    async with serve(answering(GOOD, b'{"error":["EGeneral:Too many requests"]}', b"{")) as address:
        asking = Http(client, f"http://{address}", pace=Pace(1.0), clock=clock, ended=ended)
        good = await asking.get(ASK)
        for problem in (RateLimited, Unavailable):
            with pytest.raises(problem):
                await asking.get(ASK)
    with pytest.raises(Unavailable):
        await Http(client, f"http://{nobody}", pace=Pace(1.0), clock=clock, ended=ended).get(ASK)
    assert [request for request, _ in told] == [ASK] * 4
    assert told[0][1] is good
    assert [type(how) for _, how in told[1:]] == [RateLimited, Unavailable, Unavailable]


async def test_an_answer_says_when_it_was_asked_for_once_its_turn_had_come(
    serve: Serve, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    async with serve(answering(GOOD)) as address:
        asking = Http(client, f"http://{address}", pace=Pace(0.5), clock=clock)
        first, second = await asking.get(ASK), await asking.get(ASK)
    assert (first.sent_ns, second.sent_ns) == (WALL_S * 10**9, (WALL_S + 2) * 10**9)


async def test_a_password_in_the_url_reaches_no_sentence(
    nobody: str, client: aiohttp.ClientSession, clock: ManualClock
) -> None:
    with pytest.raises(Unavailable, match=rf"cannot reach http://\*\*\*@{nobody}/0/public/Trades: Connection refused$"):
        await Http(client, f"http://me:s3cret@{nobody}", pace=Pace(1.0), clock=clock).get(ASK)


@pytest.mark.parametrize(
    ("url", "setting", "environ", "proxy"),
    [
        ("https://api.kraken.com", None, {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("wss://ws.kraken.com/v2", None, {"https_proxy": "p:1"}, "http://p:1"),
        ("http://10.0.0.1", None, {"HTTPS_PROXY": "http://p:1"}, None),
        ("ws://exchange.test", None, {"http_proxy": "http://p:1"}, "http://p:1"),
        ("https://api.kraken.com", None, {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "kraken.com"}, None),
        ("http://127.0.0.1:8080", None, {"HTTP_PROXY": "http://p:1"}, None),
        ("ws://localhost:8080", None, {"http_proxy": "http://p:1"}, None),
        ("https://api.kraken.com", "none", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://api.kraken.com", "http://q:2", {"HTTPS_PROXY": "http://p:1"}, "http://q:2"),
        ("https://api.kraken.com", None, {}, None),
    ],
)
def test_the_proxy_is_the_one_configured_or_that_of_the_environment(
    url: str, setting: str | None, environ: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url, setting) == proxy


async def test_requests_and_handshakes_go_by_the_proxy() -> None:
    came: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append((await reader.readline()).decode().split(" HTTP")[0])
        writer.write(b"HTTP/1.1 407 Who are you\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, client_session(f"http://127.0.0.1:{port}") as client:
        one = Http(client, "http://exchange.test", pace=Pace(1000.0), clock=ManualClock())
        with pytest.raises(ExchangeError, match="407"):
            await one.get(ASK)
        with pytest.raises(ExchangeError, match="407"):
            async with dial(client, "ws://exchange.test/v2"):
                pass
        with pytest.raises(ExchangeError, match="the proxy answered HTTP 407"):
            async with dial(client, "wss://exchange.test/v2"):
                pass
    assert came == [
        f"GET http://exchange.test{ASK.target}",
        "GET ws://exchange.test/v2",
        "CONNECT exchange.test:443",
    ]


async def test_a_proxy_that_is_not_there_is_called_that() -> None:
    async with client_session("http://127.0.0.1:9") as client:
        one = Http(client, "https://exchange.test", pace=Pace(1000.0), clock=ManualClock())
        with pytest.raises(ExchangeError, match=r"no proxy answers at 127\.0\.0\.1:9"):
            await one.get(ASK)
