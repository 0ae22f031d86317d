"""Signatures, by the published vector (API.md 10.1)."""

from __future__ import annotations

import pytest

from recorder.kraken.private_signing import decoded_secret, is_key, signature

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="


def test_the_published_vector_is_signed_as_published() -> None:
    body = "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    signed = signature(decoded_secret(SECRET), "/0/private/AddOrder", "1616492376594", body)
    assert signed == "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="


@pytest.mark.parametrize(
    "text", [SECRET[:-1], f"{SECRET} ", f"{SECRET}\n", "c2hvcnQ=", "", "ä" * 88, SECRET[:40] + "\0"]
)
def test_a_secret_that_cannot_be_one_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"not base64|too short") as caught:
        decoded_secret(text)
    assert not text or text not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["", "short", "a" * 20 + "\r\nX-Evil: 1", "a" * 20 + " ", "é" * 20, "a" * 200])
def test_what_no_header_may_have_is_no_key(text: str) -> None:
    assert not is_key(text)
    assert is_key("q7Yk2m8Zr4Tt6Vb1Nc3Xd5Wf9Hg0JpLs/+aE==")
