"""Contrast of the page's colours, as WCAG 2.2 demands it (AA)."""

from __future__ import annotations

import re

import pytest

from recorder.page.static_files import static_file

TEXT = ("ink", "faint", "link", "up", "down", "good", "warn", "bad")
SHAPES = ("partial", "pending")
"""Colours that only fill shapes, beside words that say the same."""
LEAST_TEXT, LEAST_SHAPE = 4.5, 3.0


def schemes() -> dict[str, dict[str, str]]:
    found = static_file("page.css")
    assert found is not None
    light, dark = re.findall(r":root \{(.*?)\}", found.content.decode(), re.DOTALL)[:2]
    return {name: dict(re.findall(r"--(\w+): (#\w{6});", text)) for name, text in (("light", light), ("dark", dark))}


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(colour: str, other: str) -> float:
    darker, lighter = sorted((luminance(colour), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_shapes_can_be_told_from_what_is_behind_them(scheme: str) -> None:
    colours = schemes()[scheme]
    for names, least in ((TEXT, LEAST_TEXT), (SHAPES, LEAST_SHAPE)):
        for name in names:
            for behind in ("paper", "raised"):
                assert contrast(colours[name], colours[behind]) >= least, (name, behind)
    assert contrast(colours["field"], colours["paper"]) >= LEAST_SHAPE  # the frame of what one can type into
