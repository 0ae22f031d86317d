"""Frames and scripts for tests of a WebSocket session."""

from __future__ import annotations

from recorder.kraken.channels import TRADES
from recorder.kraken.websocket_session import Session
from tests.kraken.playbook import ack, answer, asks, frame, opened, play, stands, tick

HEARTBEAT = '{"channel":"heartbeat"}'
BTC = "BTC/USD"
ETH = "ETH/USD"
XRP = "XRP/USD"


def sent_ids(session: Session) -> list[int]:
    return [req_id for _, req_id in session._asking.pending()]


def beats(script: play, seconds: int) -> play:
    for _ in range(seconds):
        script >> tick(1) >> HEARTBEAT
    return script


def pong(req_id: int = 101) -> str:
    return frame(method="pong", req_id=req_id, time_in="x", time_out="y")


def subscribed(*pairs: str) -> play:
    """A session with exactly these pairs, all acknowledged."""
    script = play(Session(TRADES, list(pairs))) >> opened << asks(*pairs)
    for pair in pairs:
        script >> ack(pair) << answer << stands(pair)
    return script
