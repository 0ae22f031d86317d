"""A headless Chromium, driven over its DevTools protocol: pages as people see them, and a mouse."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

FOUND: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING: Final = "needs Chromium (apt-get install chromium)"
LONGEST_S: Final = 60
"""For one answer on a busy machine; it takes milliseconds."""
_LISTENS: Final = re.compile(r"DevTools listening on (ws://\S+)")
_CODES: Final = {"Tab": 9}
_OPTIONS: Final = (
    "--headless=new",
    "--no-sandbox",  # CI is root in a container, and the pages are ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def tinted(counted: Mapping[str, int], *colours: str) -> int:
    """Return how many of these pixels are of one of the colours, or shades of it as the edges of a line on white have.

    A thin line may have no pixel of the very colour: how many it has depends on how steep it is.
    """
    return sum(number for pixel, number in counted.items() if any(_is_shade(pixel, colour) for colour in colours))


def _is_shade(pixel: str, colour: str) -> bool:
    """Return whether a pixel is white mixed with the colour, and a third of that or more."""
    towards, is_at = ([255 - part for part in bytes.fromhex(one[1:])] for one in (colour, pixel))
    share = sum(one * other for one, other in zip(is_at, towards, strict=True)) / sum(one * one for one in towards)
    return share > 1 / 3 and all(abs(one - share * other) < 16 for one, other in zip(is_at, towards, strict=True))


class Page:
    """A tab. ``complaints`` are what its console says, and what it tried to load from anywhere but a file."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, target: str) -> None:
        self.complaints: list[str] = []
        self._socket, self._target, self._session = socket, target, ""
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()

    async def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the protocol; return its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send_json({"id": number, "method": method, "params": params, **session})
        return await asyncio.wait_for(answer, LONGEST_S)

    async def listen(self) -> None:
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                answer = self._answers.pop(said["id"])
                if "error" in said:
                    answer.set_exception(RuntimeError(said["error"]["message"]))
                else:
                    answer.set_result(said["result"])
            elif said.get("sessionId") == self._session:
                self._note(said["method"], said["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(" ".join(str(one.get("value")) for one in params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["exception"]["description"])
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "about:", "blob:")):
                self.complaints.append(url)

    async def open(self, url: str, *, width: int, height: int, dark: bool, scripts: bool = True) -> None:
        attached = await self("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self(f"{domain}.enable")
        await self.resize(width, height)
        scheme = "dark" if dark else "light"
        await self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        if not scripts:
            await self("Emulation.setScriptExecutionDisabled", value=True)
        await self.go(url)

    async def resize(self, width: int, height: int) -> None:
        await self(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    async def evaluate(self, expression: str) -> Any:
        """Return the value of JavaScript, or of its promise."""
        done = await self("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    async def go(self, url: str) -> None:
        """Open another address in this tab."""
        self._loaded.clear()
        await self("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), LONGEST_S)

    async def press(self, key: str) -> None:
        """Press a key that has no character, such as Tab."""
        for kind in ("keyDown", "keyUp"):
            await self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_CODES[key])

    async def drawn(self) -> None:
        """Return when what was asked for is on the screen: two frames later."""
        await self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    async def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        await self("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    async def picture(self, **clip: float) -> bytes:
        """Return the page, or the part of it at ``x, y, width, height``, as PNG."""
        await self.drawn()
        part = {"clip": {**clip, "scale": 1}} if clip else {}
        return base64.b64decode((await self("Page.captureScreenshot", format="png", **part))["data"])

    async def colours(self, **clip: float) -> dict[str, int]:
        """Return each colour of the page, or of that part of it, as #rrggbb, with its number of pixels.

        Counted by the page itself: a tab of its own would take long, and hide this one, which then draws no more.
        """
        # A bitmap of bytes, because the policy of a page may allow no pictures.
        counted: dict[str, int] = await self.evaluate(
            f"""(async () => {{
          const bytes = Uint8Array.from(atob("{base64.b64encode(await self.picture(**clip)).decode()}"),
            one => one.charCodeAt(0));
          const image = await createImageBitmap(new Blob([bytes], {{type: "image/png"}}));
          const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
          context.drawImage(image, 0, 0);
          const found = {{}};
          for (const pixel of new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer))
            found[pixel] = (found[pixel] ?? 0) + 1;
          const hex = (pixel, at) => (pixel >> at & 255).toString(16).padStart(2, "0");
          return Object.fromEntries(
            Object.entries(found).map(([pixel, n]) => ["#" + [0, 8, 16].map(at => hex(pixel, at)).join(""), n])
          );
        }})()"""
        )
        return counted


class Browser:
    """A running Chromium."""

    def __init__(self, address: str) -> None:
        self._address = address

    @asynccontextmanager
    async def page(
        self, url: str, *, width: int = 1000, height: int = 640, dark: bool = False, scripts: bool = True
    ) -> AsyncIterator[Page]:
        """Open an address in a tab of this size, on a system that is light or dark; it may have JavaScript off."""
        async with aiohttp.ClientSession() as session, session.ws_connect(self._address, max_msg_size=0) as socket:
            blank = Page(socket, "")
            listening = asyncio.create_task(blank.listen())
            target = (await blank("Target.createTarget", url="about:blank"))["targetId"]
            blank._target = target
            try:
                await blank.open(url, width=width, height=height, dark=dark, scripts=scripts)
                yield blank
            finally:
                blank._session = ""
                await blank("Target.closeTarget", targetId=target)
                listening.cancel()


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """Run a browser with its profile in ``folder``."""
    assert FOUND is not None, MISSING
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [FOUND, *_OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.PIPE,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if listens := _LISTENS.search(line.decode(errors="replace")):
                yield Browser(listens[1])
                break
        else:
            raise AssertionError(f"Chromium ended with {process.wait()}")
    finally:
        process.terminate()
        process.wait(LONGEST_S)
        if process.stderr is not None:
            process.stderr.close()
