"""Problem documents as exceptions: the tree of `services.kernel.errors` on the caller's side too.

try:
    client.promote("threat-classifier", "1.0.20240614", "production")
except trimtab.errors.Conflict as error:
    print(error.detail, error.facts["status"])
"""

import json
from collections.abc import Iterator

from services.kernel import errors
from services.kernel.errors import (
    Conflict,
    Forbidden,
    IntegrityFailed,
    InvalidInput,
    NoRoom,
    NotBuilt,
    NotFound,
    Overloaded,
    PreconditionFailed,
    TooLarge,
    TrimtabError,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)

__all__ = [
    "Conflict",
    "Forbidden",
    "IntegrityFailed",
    "InvalidInput",
    "NoRoom",
    "NotBuilt",
    "NotFound",
    "Overloaded",
    "PreconditionFailed",
    "TooLarge",
    "TrimtabError",
    "Unauthenticated",
    "Unavailable",
    "Unfinished",
    "UnsupportedMedia",
    "error_of",
]


class Unfinished(TrimtabError):
    """What was waited for has not come about in time."""

    code = "unfinished"


_BY_STATUS: dict[int, type[TrimtabError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    415: UnsupportedMedia,
    422: InvalidInput,
    501: NotBuilt,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: NoRoom,
}


def _tree(kind: type[TrimtabError]) -> Iterator[type[TrimtabError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def error_of(status: int, body: bytes, request: str = "the request") -> TrimtabError:
    """The exception for an answer with an error `status`: by the problem's `code`, else by the status.

    `facts` holds the problem's members, `status` among them. Reads `{"error": ...}` of the V2 protocol too.
    """
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or problem.get("error") or problem.get("title")
    if not detail:
        detail = f"{request} was answered {status}: {body[:200].decode(errors='replace') or 'no text'}"
    by_code = {kind.code: kind for kind in _tree(errors.TrimtabError) if "code" in vars(kind)}
    kind = by_code.get(str(problem.get("code")), _BY_STATUS.get(status, TrimtabError))
    facts = {name: value for name, value in problem.items() if name not in ("detail", "retry_after_seconds")}
    return kind(str(detail), **{**facts, "status": status})
