"""What caused a change that arrives by HTTP: the header `Trimtab-Cause: EVENT_ID CORRELATION_ID`.

A message carries its cause in its envelope. An HTTP call made because of an event names that event in this header, so
that the chain of events is not broken where a service asks another one instead of telling everybody.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from schemas.envelope import Envelope

HEADER = "trimtab-cause"

_FORM = re.compile(r"([\w./:-]{1,256}) ([\w./:-]{1,256})", re.ASCII)
_current: ContextVar[Envelope | None] = ContextVar("cause", default=None)


def to_header(cause: Envelope) -> str:
    """The header's value for a call that `cause` led to."""
    return f"{cause.id} {cause.correlation_id or cause.id}"


def from_header(value: str | None) -> Envelope | None:
    """The cause named by a header; None for no header or one of another form, which is nobody's error."""
    match = _FORM.fullmatch(value) if value else None
    if match is None:
        return None
    return Envelope(id=match[1], correlation_id=match[2], source="/http", type="trimtab.cause", time=datetime.now(UTC))


def current() -> Envelope | None:
    """The cause of the request being answered, or None."""
    return _current.get()


@contextmanager
def because_of(cause: Envelope | None) -> Iterator[None]:
    """Everything published within is caused by `cause`."""
    token = _current.set(cause)
    try:
        yield
    finally:
        _current.reset(token)
