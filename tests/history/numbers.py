"""Texts of history files that are numbers, nearly are, or hardly."""

from __future__ import annotations

from hypothesis import strategies as st

NUMBERS = st.one_of(
    st.decimals(0, 10**17, places=12).map(lambda number: f"{number:f}"),
    st.decimals(0, 10**4, places=8).map(str),
    st.sampled_from(
        [
            "",
            "0",
            ".5",
            "5.",
            ".",
            "+1",
            "-1",
            "-0",
            "1e-05",
            "1E3",
            "1e30",
            "1e400",
            "nan",
            "0x10",
            "1_0",
            "1.0000000000000",
            "0.0000000000001",
            "0.000000001",
        ]
    ),
    st.sampled_from([" 1", "1\t", "9999999999999999.9", "99999999999999999.1", "1" * 40]),
)
