from __future__ import annotations

from recorder.sandbox.request_log import KEPT, LoggedRequest, RequestLog


def request(at_s: float, path: str = "/0/public/Trades", status: int = 200) -> LoggedRequest:
    return LoggedRequest(at_s=at_s, time_ns=0, method="GET", path=path, query="", status=status)


def test_requests_are_kept_in_order_and_found_by_path() -> None:
    log = RequestLog()
    for one in (request(1), request(2, "/v2", 101), request(3)):
        log.add(one)
    assert [one.at_s for one in log] == [1, 2, 3]
    assert [one.at_s for one in log.to("/0/public/Trades")] == [1, 3]
    assert [one.status for one in log.to("/v2")] == [101]


def test_only_the_newest_are_kept() -> None:
    log = RequestLog()
    for at_s in range(KEPT + 5):
        log.add(request(at_s))
    assert len(log) == KEPT
    assert next(iter(log)).at_s == 5
