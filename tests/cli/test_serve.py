from __future__ import annotations

import signal
from pathlib import Path

import aiohttp

from tests.archives import trades, writing
from tests.end_to_end.harness import Process, until
from tests.servers import free_port


async def test_an_archive_is_shown_where_no_recorder_runs(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as written:
        written.append([*trades(1, 3), *trades(6, 7)])
        port = str(free_port())
        process = Process("serve", "--data", "data", cwd=tmp_path, RECORDER_OPS__PORT=port)
        try:
            await until(lambda: "Ctrl-C ends it" in process.said, what="it serves")
            async with aiohttp.ClientSession() as client:
                async with client.get(f"http://127.0.0.1:{port}/") as answer:
                    text = await answer.text()
                async with client.get(f"http://127.0.0.1:{port}/health") as answer:
                    assert answer.status == 404  # there is no recorder to tell of
            assert 'class="word stopped"' in text
            assert "this page shows what is on the disk" in text
            assert 'data-pair="BTC/USD"' in text
            process.signal(signal.SIGTERM)
            assert await process.ended() == 0
        finally:
            process.close()


async def test_a_folder_without_an_archive_is_refused(tmp_path: Path) -> None:
    process = Process("serve", "--data", "nothing", cwd=tmp_path)
    try:
        assert await process.ended() == 2
        assert "nothing" in process.said
        assert "Traceback" not in process.said
    finally:
        process.close()
