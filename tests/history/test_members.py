"""Finding and reading the members of ZIPs and folders."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from recorder.errors import UsageError
from recorder.history import members
from recorder.history.members import Member, find, offsets_of
from recorder.kraken.history_files import MemberName

CONTENT = {
    "TimeAndSales_Combined/XBTUSD.csv": b"1,2,3\n" * 5_000,
    "ETHEUR.csv": b"4,5,6\r\n7,8,9",
    "EMPTY.csv": b"",
    "__MACOSX/._XBTUSD.csv": b"debris",
    "read me.txt": b"hello",
    "deep/er/XDGUSD_60.csv": b"7\n",
}


def zipped(path: Path, content: dict[str, bytes] = CONTENT) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_members_of_a_zip_are_read_by_their_base_names_without_unpacking(tmp_path: Path) -> None:
    found = find([zipped(tmp_path / "q.zip")])
    assert {one.name.altname: b"".join(one.blocks()) for one in found.members} == {
        "XBTUSD": CONTENT["TimeAndSales_Combined/XBTUSD.csv"],
        "ETHEUR": CONTENT["ETHEUR.csv"],
        "XDGUSD": CONTENT["deep/er/XDGUSD_60.csv"],
    }
    assert [why for _, why in found.left] == ["it is empty", "its name is not that of a history file"]
    assert list(tmp_path.iterdir()) == [tmp_path / "q.zip"]


def test_the_checksum_is_that_of_the_content_and_says_how_far_it_is(tmp_path: Path) -> None:
    content = b"1,2,3\n" * 400_000
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "AB.csv").write_bytes(content)
    for member in find([zipped(tmp_path / "q.zip", {"AB.csv": content}), tmp_path / "in"]).members:
        done: list[int] = []
        assert member.digest(done.append) == (zlib.crc32(content), hashlib.sha256(content).hexdigest())
        assert (sum(done), len(done)) == (len(content), 3)


def test_folders_are_searched_and_a_path_named_twice_counts_once(tmp_path: Path) -> None:
    (tmp_path / "in" / "__MACOSX").mkdir(parents=True)
    zipped(tmp_path / "in" / "q.zip")
    for name in ("XBTUSD.csv", "__MACOSX/ETHUSD.csv", "._X.csv", "odd name.csv", "notes.txt"):
        (tmp_path / "in" / name).write_bytes(b"1,2,3\n")
    found = find([tmp_path, tmp_path / "in" / "q.zip"])
    assert [str(one.name.altname) for one in found.members] == ["XBTUSD", "XBTUSD", "ETHEUR", "XDGUSD"]
    assert any("odd name" in name for name, _ in found.left)


def test_blocks_end_with_lines_and_are_bounded(tmp_path: Path) -> None:
    (one,) = find([zipped(tmp_path / "q.zip", {"A_1.csv": b"12345\n" * 1_000 + b"end"})]).members
    blocks = list(one.blocks(100))
    assert b"".join(blocks) == b"12345\n" * 1_000 + b"end"
    assert {block[-1:] for block in blocks[:-1]} == {b"\n"}
    assert max(map(len, blocks)) <= 106
    assert one.head() == b"12345\n" * 1_000 + b"end"


def test_the_head_ends_with_a_line(tmp_path: Path) -> None:
    (one,) = find([zipped(tmp_path / "q.zip", {"A.csv": b"1234567\n" * 9_999})]).members
    assert one.head() == b"1234567\n" * (members.HEAD_BYTES // 8)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_without_end_is_cut_before_it_fills_the_memory(
    tmp_path: Path, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "LONGEST_LINE", 1_000)
    content = end.join([b"1,2", b"3" * 5_000, b"4,5", b"6" * 1_500])
    (one,) = find([zipped(tmp_path / "q.zip", {"A.csv": content})]).members
    for size in (99, 1_000, 4_096):
        blocks = list(one.blocks(size))
        assert max(map(len, blocks)) <= 1_000 + 2 * size + len(members.CUT)
        lines = b"".join(blocks).split(end)
        assert [line[:3] for line in lines] == [b"1,2", b"333", b"4,5", b"666"]
        assert [line.endswith(members.CUT) for line in lines] == [False, True, False, True]
        assert max(map(len, lines)) <= 1_000 + size + len(members.CUT)


def test_zip64_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    path = zipped(tmp_path / "q.zip", {"A.csv": b"1,2,3\n" * 50})
    assert b"PK\x06\x06" in path.read_bytes()
    monkeypatch.undo()
    (one,) = find([path]).members
    assert b"".join(one.blocks()) == b"1,2,3\n" * 50


def wrapped(content: dict[str, bytes], wrap: int) -> bytes:
    """Return a ZIP whose offsets are stored modulo ``wrap``, as the Finder does modulo 2 ** 32."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    found, at = bytearray(file.getvalue()), 0
    while (at := found.find(b"PK\x01\x02", at)) >= 0:
        struct.pack_into("<I", found, at + 42, struct.unpack_from("<I", found, at + 42)[0] % wrap)
        at += 4
    end = found.rfind(b"PK\x05\x06")
    struct.pack_into("<I", found, end + 16, struct.unpack_from("<I", found, end + 16)[0] % wrap)
    return bytes(found)


def test_offsets_that_wrapped_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {f"A{number}.csv": b"%d,2\n" % number * (50 + 997 * number % 600) for number in range(30)}
    (tmp_path / "finder.zip").write_bytes(wrapped(content, 4096))
    monkeypatch.setattr(offsets_of, "__defaults__", (4096,))
    found = find([tmp_path / "finder.zip"]).members
    assert {one.path: b"".join(one.blocks()) for one in found} == content


def test_a_zip_that_cannot_be_followed_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "finder.zip").write_bytes(wrapped({f"A{number}.csv": b"1,2\n" * 999 for number in range(9)}, 4096))
    ((_, why),) = find([tmp_path / "finder.zip"]).refused
    assert "Finder" in why
    assert "import the folder" in why


def test_damage_and_foreign_packing_are_refused_with_what_to_do(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "q.zip", {"A.csv": bytes(range(65, 91)) * 999}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    zipped(tmp_path / "sound.zip")
    found = find([tmp_path / "cut.zip", tmp_path / "sound.zip"])
    assert [(name, "download it again" in why) for name, why in found.refused] == [(str(tmp_path / "cut.zip"), True)]
    assert len(found.members) == 3, "a ZIP that is damaged costs only itself"
    flipped = bytearray(whole)
    flipped[60] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(flipped)
    (one,) = find([tmp_path / "flipped.zip"]).members
    with pytest.raises(UsageError, match="download it again"):
        list(one.blocks())
    directory = bytearray(whole)
    struct.pack_into("<H", directory, directory.rfind(b"PK\x01\x02") + 10, 9)  # Deflate64
    (tmp_path / "windows.zip").write_bytes(directory)
    (one,) = find([tmp_path / "windows.zip"]).members
    with pytest.raises(UsageError, match=r"packed in a way.*import the folder"):
        one.head()
    struct.pack_into("<H", directory, directory.rfind(b"PK\x01\x02") + 8, 1)
    (tmp_path / "secret.zip").write_bytes(directory)
    ((name, why),) = find([tmp_path / "secret.zip"]).refused
    assert name.endswith("secret.zip: A.csv")
    assert why.startswith("it is encrypted: unpack it")


def test_entries_of_one_name_are_different_members(tmp_path: Path) -> None:
    content = [b"1,2,3\n" * 5, b"4,5,6\n" * 5, b"7\n"]
    with zipfile.ZipFile(tmp_path / "q.zip", "w") as archive:
        archive.writestr("A.csv", content[0])
        for data in content[1:]:
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("A.csv", data)
    found = find([tmp_path / "q.zip"]).members
    assert [b"".join(one.blocks()) for one in found] == content
    assert [one.digest().crc32 for one in found] == [zlib.crc32(data) for data in content]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the ZIP"):
        find([tmp_path / "gone.zip"])
    gone = Member(tmp_path / "gone.csv", MemberName("GONE"), 5)
    with pytest.raises(UsageError, match="cannot be read"):
        gone.head()
