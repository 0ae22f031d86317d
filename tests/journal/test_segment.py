from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.event_kinds import HEADER, NOTE
from recorder.core.segment_names import SegmentName
from recorder.errors import CorruptLine
from recorder.journal import segment
from recorder.journal.segment import Entry
from tests.segments import ARCHIVE

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
payloads = st.one_of(
    st.binary(),
    st.text().map(str.encode),
    json_values.map(lambda value: json.dumps(value, ensure_ascii=False, indent=1).encode(errors="surrogatepass")),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"", b"NaN", b"[1\r]", b'"\x00"', b"[" * 10_000, b'"\xff"', b"\xef\xbb\xbf{}", b'x,"payload":{}']),
)
sources = st.from_regex(r"[A-Za-z0-9:/?&=.,%_+-]+", fullmatch=True)
entries = st.builds(Entry, st.integers(0, 2**63 - 1), sources, payloads)


def line_of(entry: Entry) -> bytes:
    return segment.encode(entry.recv_ns, entry.source, entry.payload)


@given(entry=entries)
def test_what_came_is_read_back_byte_for_byte(entry: Entry) -> None:
    line = line_of(entry)
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert segment.decode(line[:-1]) == entry


@given(entry=entries)
def test_a_line_is_strict_json_for_any_reader(entry: Entry) -> None:
    def no_constant(name: str) -> None:
        raise AssertionError(name)

    fields = json.loads(line_of(entry).decode(), parse_constant=no_constant)
    assert fields["recv_ns"] == entry.recv_ns
    assert fields["source"] == entry.source
    assert len(fields.keys() & {"payload", "text", "base64"}) == 1


@given(value=json_values.map(lambda value: json.dumps(value).encode()))
def test_a_frame_that_was_parsed_is_written_as_one_that_was_not(value: bytes) -> None:
    assert segment.encode(1, "a", value, parsed=True) == segment.encode(1, "a", value)


def test_a_parsed_frame_with_hidden_bytes_that_are_no_text_is_kept_byte_for_byte() -> None:
    frame = b'{"channel":"trade","note":"\xff"}'
    line = segment.encode(1, "ws:trade:1", frame, parsed=True)
    assert json.loads(line)["base64"]
    assert segment.decode(line[:-1]).payload == frame


@pytest.mark.parametrize("source", ["", 'a"b', "a\\b", "a\nb"])
def test_a_source_that_json_would_escape_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="cannot be a source"):
        segment.encode(1, source, b"{}")


@given(entry=entries, data=st.data())
def test_any_single_corrupt_byte_in_what_came_is_found(entry: Entry, data: st.DataObject) -> None:
    line = line_of(entry)[:-1]
    start = line.index(b'"crc32":') + len(b'"crc32":')
    place = data.draw(st.integers(start, len(line) - 1))
    corrupt = bytearray(line)
    corrupt[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(CorruptLine):
        # Only a byte that means nothing may pass, such as a zero put before the checksum.
        assert segment.decode(bytes(corrupt)).payload == entry.payload


@given(found=st.lists(entries, max_size=6), data=st.data())
def test_one_corrupt_line_costs_no_other(
    tmp_path_factory: pytest.TempPathFactory, found: list[Entry], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("segments") / "000000000001.jsonl"
    lines = [line_of(entry) for entry in found]
    damaged = data.draw(st.integers(0, len(lines)))
    junk = data.draw(st.binary(min_size=1).filter(lambda junk: b"\n" not in junk))
    path.write_bytes(b"".join([*lines[:damaged], junk + b"\n", *lines[damaged:]]))
    read = list(segment.entries(path, chunk=data.draw(st.integers(1, 400))))
    assert [entry for entry in read if isinstance(entry, Entry)] == found
    assert [entry.line for entry in read if isinstance(entry, CorruptLine)] == [junk]


def test_a_line_that_ends_with_the_segment_is_reported_not_dropped(tmp_path: Path) -> None:
    whole, torn = line_of(Entry(1, "a", b"{}")), line_of(Entry(2, "a", b"[2]"))[:-1]
    path = tmp_path / "000000000001.jsonl"
    path.write_bytes(whole + torn)
    first, last = segment.entries(path)
    assert first == Entry(1, "a", b"{}")
    assert isinstance(last, CorruptLine)
    assert last.line == torn


@given(found=st.lists(entries, max_size=8), chunk=st.integers(1, 300), torn=st.integers(1, 40))
def test_a_growing_segment_is_read_on_from_where_reading_ended(
    tmp_path_factory: pytest.TempPathFactory, found: list[Entry], chunk: int, torn: int
) -> None:
    path = tmp_path_factory.mktemp("segments") / "000000000001.jsonl"
    content = b"".join(line_of(entry) for entry in found)
    path.write_bytes(content[:-torn])
    lines, offset = segment.whole_lines(path)
    path.write_bytes(content)
    while True:
        more, following = segment.whole_lines(path, offset, limit=chunk)
        if following == offset:
            break
        lines, offset = lines + more, following
    assert [segment.decode(line) for line in lines] == found
    assert offset == len(content)


def test_what_lies_beside_the_segments_is_no_segment(tmp_path: Path) -> None:
    for name in ("000000000002.jsonl", "000000000010.jsonl", "notes.jsonl", "000000000001.jsonl.swp"):
        (tmp_path / name).touch()
    assert [segment.number_of(path) for path in segment.segments(tmp_path)] == [2, 10]


def test_a_note_is_a_line_of_our_own() -> None:
    entry = segment.decode(segment.encode_note(7, "connected", connection=3)[:-1])
    assert entry == Entry(7, NOTE, b'{"note":"connected","connection":3}')


def test_a_note_of_something_nested_out_of_all_depth_tells_the_rest() -> None:
    deep: object = []
    for _ in range(200_000):
        deep = [deep]
    line = segment.encode_note(7, "maintenance", system="online", emergency=deep)
    assert segment.decode(line.rstrip(b"\n")).payload == b'{"note":"maintenance","system":"online"}'


@pytest.mark.parametrize(
    "line",
    [
        b'{"recv_ns":1,"source":"x","crc32":0,"more":' + b"[" * 100_000,
        b'{"recv_ns":%d,"source":"note","crc32":2745614147,"payload":{}}' % 2**63,
        b'{"recv_ns":1,"source":"%s","crc32":2745614147,"payload":{}}' % (b"x" * (segment.SOURCE_LIMIT + 1)),
    ],
)
def test_a_line_of_no_moment_from_nowhere_or_out_of_all_depth_is_corrupt(line: bytes) -> None:
    with pytest.raises(CorruptLine):
        segment.decode(line)


def test_the_name_of_a_segment_stands_in_its_first_line_wherever_the_file_lies(tmp_path: Path) -> None:
    market = SegmentName(ARCHIVE, "journal_market", 7)
    path = tmp_path / "journal" / "000000000050.jsonl"
    path.parent.mkdir()
    path.write_bytes(segment.encode_header(1, market) + segment.encode_note(2, "connected"))
    assert segment.name_of(path, archive="ours") == market


def test_a_segment_of_an_older_release_has_no_more_of_a_name_than_its_number(tmp_path: Path) -> None:
    path = segment.path_of(tmp_path, 7)
    path.write_bytes(segment.encode_note(1, HEADER, number=7, format=1, writer="kraken-recorder 0.1.0"))
    assert segment.name_of(path, archive="ours") == SegmentName("", "journal", 7)
    path.write_bytes(segment.encode_header(1, SegmentName("", "journal", 7)))
    assert b"archive" not in path.read_bytes()
    assert segment.name_of(path, archive="ours") == SegmentName("", "journal", 7)


@pytest.mark.parametrize("first", [b"", b"\n", b"junk", b"{}\n", segment.encode_note(1, "connected"), b"x" * 10_000])
def test_a_segment_whose_first_line_is_damaged_is_of_the_folder_that_it_lies_in(tmp_path: Path, first: bytes) -> None:
    path = segment.path_of(tmp_path / "journal_market", 7)
    path.parent.mkdir()
    path.write_bytes(first)
    assert segment.name_of(path, archive="ours") == SegmentName("ours", "journal_market", 7)
