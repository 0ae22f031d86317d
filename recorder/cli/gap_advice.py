"""Messages about gaps, as they are for Python, with the option in place of the argument."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from recorder.cli.screen import echo
from recorder.errors import GapError
from recorder.query import id_runs


def for_the_command_line(sentence: str) -> str:
    """Return the message of a GapError, or a warning, with the option in place of the argument."""
    for advice in (id_runs.SHOWN_GAP, id_runs.ON_GAP):
        sentence = sentence.replace(advice, "give --on-gap warn or ignore")
    return sentence


@contextlib.contextmanager
def naming_the_option() -> Iterator[None]:
    """Translate a GapError; print translated warnings on standard error afterwards, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        except GapError as error:
            raise GapError(for_the_command_line(str(error))) from None
    for sentence in dict.fromkeys(for_the_command_line(str(one.message)) for one in caught):
        echo(f"recorder: {sentence}", err=True)
