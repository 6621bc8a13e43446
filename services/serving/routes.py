"""Which service owns which path of the public port. Pure."""

import re
from urllib.parse import unquote

from services.kernel.errors import InvalidInput, NotFound

_LONGEST_PATH = 2048

OWNERS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (service, re.compile(pattern))
    for service, pattern in (
        ("serving", r"/mlops/models/[^/]+/importance(/trend)?"),
        ("monitor", r"/mlops/models/[^/]+/(drift|monitoring|predictions/export)"),
        ("monitor", r"/mlops/(labels|monitor(/.+)?|alerts(/.+)?)"),
        ("registry", r"/mlops/(models|blobs|versions|deploy|deployments|keys|audit|policy|signers|garbage)(/.+)?"),
        ("registry", r"/mlops/events/replay"),
        ("trainer", r"/mlops/train(/.+)?"),
        ("tuner", r"/mlops/experiments(/.+)?"),
        ("loop", r"/mlops/loop(/.+)?"),
        ("ui", r"/|/ui(/.+)?|/mlops/events"),
    )
)
"""The first pattern that matches the whole path decides."""


def owner_of(path: str) -> str:
    """The service that owns a raw (still percent-encoded) path; `serving` is this process.

    Raises `InvalidInput` for a path that no honest client sends, `NotFound` for one that nobody owns."""
    if len(path) > _LONGEST_PATH:
        raise InvalidInput(f"the path is longer than {_LONGEST_PATH} characters")
    decoded = unquote(path)
    if any(sign in decoded for sign in ("\\", "\0", "%", "\ufffd")) or "//" in path:
        raise InvalidInput("the path holds a backslash, NUL, an empty segment or something encoded twice")
    if any(part in (".", "..") for part in decoded.split("/")) or decoded.count("/") != path.count("/"):
        raise InvalidInput("the path holds . or .. or an encoded slash")
    for service, pattern in OWNERS:
        if pattern.fullmatch(path):
            return service
    raise NotFound(f"nothing is at {path[:200]}")


UPLOADS = ("/mlops/models", "/mlops/models/import", "/mlops/blobs/")
"""Paths whose bodies are never read here, however long; the last one with everything below it."""


def is_upload(method: str, path: str) -> bool:
    """Whether the owner of `path` takes such a request from the sender itself.

    >>> is_upload("POST", "/mlops/models"), is_upload("GET", "/mlops/models"), is_upload("PUT", "/mlops/blobs/1f")
    (True, False, True)
    >>> is_upload("POST", "/mlops/models/import"), is_upload("GET", "/mlops/models/m/1.0.0/export")
    (True, False)
    """
    return (method == "POST" and path in UPLOADS) or path.startswith(UPLOADS[-1])
