"""Escaping of untrusted text for display: names of pairs, details of events, messages of the exchange.

Pure. A terminal obeys what it prints: ESC and the C1 controls move the cursor, and set titles and colours; a newline
forges a line of a log; a direction override shows a name backwards. So every unprintable character is escaped, in the
form that JSON, JavaScript and Python share. Files, tables and frames store texts as received.
"""

from __future__ import annotations

import re
from typing import Final

_CREDENTIALS: Final = re.compile(r"(?<=//)[^/?#\s]*@")
_NOT_IN_SCRIPT: Final = re.compile("[<>&\u2028\u2029]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return ``text`` with each unprintable character as ``\uXXXX``; with ``lines`` newlines stay.

    Within JSON the escapes mean the same text, so JSON stays the same JSON.

    >>> printable("a\x1b[31m\u202eb\n"), printable("a\nb", lines=True)
    ('a\\u001b[31m\\u202eb\\u000a', 'a\nb')
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or (lines and char == "\n") else _escaped(char) for char in text)


def without_credentials(url: str) -> str:
    """Return ``url``, or a text that contains one, without the user name and password it may carry.

    >>> without_credentials("cannot reach https://me:secret@example.com/0")
    'cannot reach https://***@example.com/0'
    """
    return _CREDENTIALS.sub("***@", url)


def json_for_script(json: str) -> str:
    r"""Return this JSON escaped for use within ``<script>``: no text in it ends the script, or begins one.

    >>> json_for_script('["</script><!--&"]')
    '["\\u003c/script\\u003e\\u003c!--\\u0026"]'
    """
    return _NOT_IN_SCRIPT.sub(lambda found: _escaped(found[0]), json)


def _escaped(char: str) -> str:
    r"""Return the UTF-16 of ``char`` as escapes; for a lone surrogate, that surrogate.

    >>> _escaped(chr(0xE0001))
    '\\udb40\\udc01'
    """
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
