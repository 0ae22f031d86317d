"""Wrong options and arguments as one sentence, like all other errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import typer

# Pinned below the next minor release in pyproject.toml: the library makes it public nowhere.
from typer._click.exceptions import NoArgsIsHelpError

from recorder.errors import UsageError

_PROGRAM: Final = "recorder"
_WORDS: Final = {
    "Value error, ": "",
    ": Input should": ": it should",
    ". Choose from: ": ": choose from ",
    ". Did you mean": "; did you mean",
    "(Possible": "(possible",
}
"""What joins the library's sentences to one."""


@contextlib.contextmanager
def as_sentences(*, verb: str = "") -> Iterator[None]:
    """Raise UsageError for what the library finds wrong with a command line, of the ``verb`` if it names no place."""
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except typer.TyperException as error:
        raise UsageError(_sentence(error.format_message(), verbs_of(getattr(error, "ctx", None)) or verb)) from None


def verbs_of(ctx: Any) -> str:  # noqa: ANN401 -- the library's context, which it does not make public
    """Return the verbs that lead to a context: ``account check``; nothing for the program itself, or without one."""
    if ctx is None or ctx.parent is None:
        return ""
    return f"{verbs_of(ctx.parent)} {ctx.info_name}".strip()


def _sentence(message: str, path: str) -> str:
    r"""Return the library's message in one sentence, which names the help.

    >>> _sentence("No such option: --fro (Possible options: --for)", "run")
    'no such option: --fro (possible options: --for); try `recorder run --help`'
    >>> _sentence("Invalid value for 'what': Value error, 'foo' is not one of\n  'candles',\n  'spread'.", "plot")
    "invalid value for 'what': 'foo' is not one of 'candles', 'spread'; try `recorder plot --help`"
    >>> _sentence("Option '--for' requires an argument.", "")
    "option '--for' requires an argument; try `recorder --help`"
    """
    words = " ".join(message.split()).removesuffix(".")
    for printed, wanted in _WORDS.items():
        words = words.replace(printed, wanted)
    command = " ".join(filter(None, (_PROGRAM, path)))
    return f"{words[:1].lower()}{words[1:]}; try `{command} --help`"
