"""The templates of the pages: loaded with the first page, every value escaped.

Contains how numbers and times are written, and the points of small lines.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from recorder.core.safe_text import printable
from recorder.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

LINE_WIDTH: Final = 120
LINE_HEIGHT: Final = 24
"""The size of a small line, in units of its drawing."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400


def rendered(name: str, **content: object) -> str:
    """Return a page."""
    return "".join(pieces(name, **content))


def pieces(name: str, **content: object) -> Iterator[str]:
    """Yield a page in pieces, so that whoever renders a long one can do something else between."""
    yield from _environment().get_template(name).generate(content)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 -- at the first look

    environment = Environment(
        loader=PackageLoader("recorder.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: "" if value is None else printable(value, lines=True) if type(value) is str else value,
    )
    environment.filters |= {"count": count, "ago": ago, "second": second, "bytes": size, "line": line, "price": grouped}
    environment.filters |= {"coded": coded, "dated": dated, "detail": detail, "digits": digits_of, "ms": epoch_ms}
    environment.globals["version"] = __version__
    return environment


def count(number: int) -> str:
    """Return an integer with its thousands apart.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def coded(sentence: str) -> str:
    """Return a sentence as markup, with what stands between backquotes as code.

    >>> str(coded("run `recorder verify`, if 1 < 2"))
    'run <code>recorder verify</code>, if 1 &lt; 2'
    """
    from markupsafe import Markup, escape  # noqa: PLC0415 -- comes with jinja2

    parts = str(escape(printable(sentence))).split("`")
    text = "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
    return Markup(text)  # noqa: S704 -- escaped above


def detail(content: Mapping[str, object] | str) -> str:
    """Return the detail of an event, or its JSON, in a line.

    >>> detail({"first_id": 5, "was": {"close": "1.5"}, "reason": None, "emergency": []}), detail('{"connection":1}')
    ('first_id 5, was {"close": "1.5"}', 'connection 1')
    >>> detail({"after": "2025-11-10T12:00:00.123456Z", "time_us": 1762776000000000})
    'after 2025-11-10 12:00:00, time 2025-11-10 12:00:00'
    """
    found = json.loads(content) if isinstance(content, str) else content
    if not isinstance(found, dict):
        return printable(str(content))
    texts = (_named(name, value) for name, value in found.items() if value not in (None, [], {}))
    return printable(", ".join(texts))


def _named(name: str, value: object) -> str:
    if name.endswith("_us") and isinstance(value, int):
        return f"{name.removesuffix('_us')} {second(value)}"
    if isinstance(value, str):
        return f"{name} {second(value) if _TIME.fullmatch(value) else value}"
    return f"{name} {json.dumps(value)}"


def grouped(number: str, digits: int = 0) -> str:
    """Return the text of a decimal with the thousands of its whole part apart, and at least so many decimals.

    >>> grouped("97000.10"), grouped("0.00001234"), grouped("97000", 2)
    ('97,000.10', '0.00001234', '97,000.00')
    """
    whole, point, rest = number.partition(".")
    if not whole.isdigit():
        return number
    return f"{int(whole):,}{point or '.' * bool(digits)}{rest.ljust(digits, '0')}"


def digits_of(numbers: Iterable[str]) -> int:
    """Return the most decimals that one of these decimals has.

    >>> digits_of(["1.5", "20", "0.125"])
    3
    """
    return max((len(number.partition(".")[2]) for number in numbers), default=0)


def ago(age_s: float) -> str:
    """Return a length of time in its largest units.

    >>> ago(4.2), ago(75), ago(7260), ago(200000)
    ('4 s', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    whole = max(0, int(age_s))
    if whole < _MINUTE_S:
        return f"{whole} s"
    for unit_s, unit, smaller_s, smaller in (
        (_DAY_S, "d", _HOUR_S, "h"),
        (_HOUR_S, "h", _MINUTE_S, "min"),
        (_MINUTE_S, "min", 1, "s"),
    ):
        if whole >= unit_s:
            rest = whole % unit_s // smaller_s
            return f"{whole // unit_s} {unit} {rest} {smaller}" if rest else f"{whole // unit_s} {unit}"
    return ""


def second(moment: str | int) -> str:
    """Return a time, ISO 8601 text or µs since 1970 UTC, to the second.

    >>> second("2025-11-10T12:00:01.5Z"), second(1762776000000000)
    ('2025-11-10 12:00:01', '2025-11-10 12:00:00')
    """
    if isinstance(moment, int):
        return f"{datetime.fromtimestamp(moment // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}"
    return moment[:19].replace("T", " ").removesuffix("Z")


def dated(moment: str | int) -> str:
    """Return a time as markup whose day can be hidden where there is no room for it.

    >>> str(dated(1762776000000000))
    '<span class="day">2025-11-10</span> 12:00:00'
    """
    from markupsafe import Markup  # noqa: PLC0415 -- comes with jinja2

    day, _, time = second(moment).partition(" ")
    return Markup('<span class="day">{}</span> {}').format(day, time)


def epoch_ms(moment: str) -> int:
    """Return a time, ISO 8601 text, in ms since 1970 UTC.

    >>> epoch_ms("2025-11-10T12:00:01.5Z")
    1762776001500
    """
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


def size(length: float) -> str:
    """Return a number of bytes in its largest unit.

    >>> size(1_500), size(2_340_000_000)
    ('1.5 kB', '2.3 GB')
    """
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if length >= unit:
            return f"{length / unit:.1f} {name}"
    return f"{length:.0f} B"


def line(points: Sequence[Sequence[float]], slots: int, height: int = LINE_HEIGHT) -> str:
    """Return the points of a polyline in a box of :data:`LINE_WIDTH`, from slots and values; higher values are higher.

    >>> line([[0, 1.0], [3, 2.0]], 4)
    '0.0,22.0 120.0,2.0'
    """
    if not points:
        return ""
    low, high = min(value for _, value in points), max(value for _, value in points)
    room = height - 4
    scale = room / (high - low) if high > low else 0.0
    across = LINE_WIDTH / max(1, slots - 1)
    middle = 0.0 if scale else room / 2
    return " ".join(f"{slot * across:.1f},{2 + room - middle - (value - low) * scale:.1f}" for slot, value in points)
