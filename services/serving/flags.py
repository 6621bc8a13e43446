"""How the log says what of an answered input broke the contract: `NAME:CLAUSE` pairs, joined by commas.

A name that holds a comma or a percent sign is written with `%2C` and `%25`. The clause follows the last colon. Names
of features that the model does not have come from the caller, so their length and number are bounded.
"""

from collections.abc import Iterable
from typing import Literal

Clause = Literal["unexpected", "missing", "type", "range", "category"]

LONGEST_NAME = 100
MOST_PAIRS = 50
"""More of one row are left out, and `...` ends the text."""


def flag(name: str, clause: Clause) -> str:
    """One pair.

    >>> flag("bytes, sent", "range")
    'bytes%2C sent:range'
    """
    return f"{name[:LONGEST_NAME].replace('%', '%25').replace(',', '%2C')}:{clause}"


def joined(pairs: Iterable[str]) -> str:
    """The pairs of one row.

    >>> joined(["a:range", "b:type"])
    'a:range,b:type'
    """
    known = list(pairs)
    return ",".join(known if len(known) <= MOST_PAIRS else [*known[:MOST_PAIRS], "..."])


def both(first: str, second: str) -> str:
    """Two texts of one row as one.

    >>> both("a:type", ""), both("a:type", "b:range")
    ('a:type', 'a:type,b:range')
    """
    return f"{first},{second}" if first and second else first or second
