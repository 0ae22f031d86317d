from __future__ import annotations

from pathlib import Path

import pytest

from recorder.errors import ConfigError
from recorder.page.access import SESSION_S, SESSIONS, Access, read_token

TOKEN = "0123456789-abcdefghij"


def test_a_token_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(ConfigError, match="it cannot be read"):
        read_token(path)
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=f"others may read: run chmod 600 {path}"):
        read_token(path)
    path.chmod(0o600)
    assert read_token(path) == TOKEN
    for wrong in ("short", "x" * 257, "with a space in it", "übersetzungsfehler", "\x01" * 20):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match="write 16 to 256"):
            read_token(path)
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(ConfigError, match="it is not text"):
        read_token(path)


def test_sessions_end_and_are_limited() -> None:
    access = Access(TOKEN)
    cookie = access.login(TOKEN, 0.0)
    assert cookie is not None
    assert access.allows("", cookie, SESSION_S - 1)
    assert not access.allows("", cookie, SESSION_S + 1)
    assert not access.allows("", "", 0.0)
    later = [access.login(TOKEN, 1.0) for _ in range(SESSIONS)]
    assert not access.allows("", cookie, 1.0)  # the oldest made room
    assert access.allows("", str(later[0]), 1.0)
    assert Access(None).is_open
    assert Access(None).allows("", "", 0.0)
