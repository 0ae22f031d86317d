"""The key of an account: taken only from where others cannot read it, and shown nowhere."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path

import pytest

from recorder.account.credentials import CREDENTIAL, KEY, OTP, SECRET, TOTP, load, one_time_code
from recorder.errors import KeyRefused
from tests.accounts import NAME, PRIVATE, credentials

CONTENT = f"# a key\n{KEY}={NAME}\n\n {SECRET} = '{PRIVATE}'\n"


def written(folder: Path, content: str = CONTENT, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    return path


def refused(path: Path | None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(KeyRefused) as caught:
        load(path, environ or {})
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert NAME not in message
    assert PRIVATE not in message
    assert PRIVATE[:20] not in message
    return message


def test_a_file_comes_before_a_credential_and_that_before_the_environment(tmp_path: Path) -> None:
    environ = {KEY: "E" * 56, SECRET: PRIVATE, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(None, environ).header == "E" * 56
    (tmp_path / CREDENTIAL).write_text(
        CONTENT.replace(NAME, "C" * 56)
    )  # the system keeps it private, whatever its mode
    assert load(None, environ).header == "C" * 56
    assert load(written(tmp_path), environ).header == NAME


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601, 0o644, 0o777])
def test_a_file_that_others_can_read_or_write_is_refused(mode: int, tmp_path: Path) -> None:
    assert "can be read by others" in refused(written(tmp_path, mode=mode))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "is no file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is no file" in refused(tmp_path / "pipe")
    assert "cannot be opened" in refused(tmp_path / "none")
    assert "cannot be opened" in refused(Path(PRIVATE)), "somebody wrote the secret in place of the path"
    link = tmp_path / "link"
    link.symlink_to(written(tmp_path))
    assert load(link, {}).header == NAME, "a link to a file that is private is what a container has"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no KRAKEN_API_KEY"),
        (f"{KEY}={NAME}\n", "no KRAKEN_API_SECRET"),
        (f"{NAME}\n{PRIVATE}\n", "line 1"),
        (f"{KEY}={NAME}\n{SECRET}={PRIVATE}\npassword=hunter2hunter2\n", "line 3"),
        (CONTENT + f"{SECRET}={PRIVATE}\n", "repeats"),
        (f"{KEY}={NAME}\\r\\nX: 1\n{SECRET}={PRIVATE}\n", "not the form"),
        (f"{KEY}={NAME}\n{SECRET}={PRIVATE[:-3]}\n", "cannot be used"),
        (CONTENT + f"{TOTP}=not base32!\n", "not base32"),
        (CONTENT + f"{TOTP}=GEZDGNBV\n{OTP}=123456\n", "one second factor"),
        ("x" * 20_000, "longer"),
    ],
)
def test_a_file_that_holds_no_key_is_refused_by_its_line(content: str, reason: str, tmp_path: Path) -> None:
    assert reason in refused(written(tmp_path, content))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(b"\xff\xfe" + PRIVATE.encode())
    assert "no text" in refused(path)
    assert "there is no key" in refused(None)


def test_a_key_is_never_printed_copied_or_serialized() -> None:
    key = credentials(**{OTP: "my otp+word"})
    for text in (
        repr(key),
        str(key),
        f"{key}",
        key.fingerprint,
        key.mark,
        key.hidden(f"{NAME} {PRIVATE} my+otp%2Bword"),
    ):
        assert NAME not in text
        assert PRIVATE not in text
        assert "otp%2B" not in text
    assert not hasattr(key, "__dict__")
    for serialize in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            serialize(key)
    assert credentials(private=PRIVATE[:-4] + "AAA=").mark != key.mark


@pytest.mark.parametrize(("second", "code"), [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")])
def test_codes_are_those_of_the_standard(second: int, code: str) -> None:
    assert one_time_code(b"12345678901234567890", second) == code
    key = credentials(**{TOTP: "gezd gnbv gy3t qojq gezd gnbv gy3t qojq"})
    assert key.otp(second * 10**9) == code
