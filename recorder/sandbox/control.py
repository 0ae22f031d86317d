"""The sandbox's own endpoints, by which another process throws faults and asks for the state.

Owns ``/sandbox/…`` over HTTP; everything here can be done in-process on a :class:`Controlled` as well. These
requests are neither logged nor refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from aiohttp import web

from recorder.errors import UsageError
from recorder.sandbox.faults import NAMES, Faults


class Controlled(Protocol):
    """What can be done to a sandbox from outside."""

    @property
    def faults(self) -> Faults:
        """The fault switches."""
        ...

    def burst(self, symbol: str, n: int) -> None:
        """Make ``n`` trades of a pair at once."""
        ...

    def freeze(self) -> None:
        """Make no more trades."""
        ...

    def thaw(self) -> None:
        """Make trades again."""
        ...

    def last_ids(self) -> Mapping[str, int]:
        """Return the last id made, by pair."""
        ...


def routes(sandbox: Controlled) -> web.RouteTableDef:
    """Return the control endpoints.

    POST /sandbox/<fault>?for_s=… for each name in ``faults.NAMES``, /sandbox/burst?pair=BTC/USD&n=1000,
    /sandbox/freeze, /sandbox/thaw; GET /sandbox/truth. Every answer is the last id made, by pair.
    """
    table = web.RouteTableDef()

    def done() -> web.Response:
        return web.json_response(dict(sandbox.last_ids()))

    def fault(name: str) -> None:
        @table.post(f"/sandbox/{name}")
        async def throw(request: web.Request) -> web.Response:
            for_s = _number(request, "for_s") if "for_s" in request.query else None
            sandbox.faults.throw(name, for_s)
            return done()

    for name in NAMES:
        fault(name)

    @table.post("/sandbox/burst")
    async def burst(request: web.Request) -> web.Response:
        try:
            sandbox.burst(request.query.get("pair", ""), int(_number(request, "n")))
        except UsageError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return done()

    @table.post("/sandbox/freeze")
    async def freeze(_request: web.Request) -> web.Response:
        sandbox.freeze()
        return done()

    @table.post("/sandbox/thaw")
    async def thaw(_request: web.Request) -> web.Response:
        sandbox.thaw()
        return done()

    @table.get("/sandbox/truth")
    async def truth(_request: web.Request) -> web.Response:
        return done()

    return table


def _number(request: web.Request, name: str) -> float:
    try:
        number = float(request.query.get(name, ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise web.HTTPBadRequest(text=f"{name} must be a number, like {request.path}?{name}=5")
    return number
