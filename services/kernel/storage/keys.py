"""The names of stored objects: one grammar for every backend, narrow enough to be safe as a path and in a
URL.

A key is 1 to 900 characters, segments of ASCII letters, digits and `._@=+,~-` divided by single slashes. A
segment does not begin with a dot, so `..`, `.` and hidden files cannot be written, and neither can an
absolute path, a backslash, NUL or `%`.
"""

import re

from services.kernel.errors import InvalidInput

MAX_KEY_CHARACTERS = 900
"""S3 takes 1,024 bytes; the rest is left to a bucket's own prefix."""

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@=+,~-]{0,199}")


def checked_key(key: str) -> str:
    """`key` itself. Raises `InvalidInput` that names the first segment which breaks the grammar."""
    if not key or len(key) > MAX_KEY_CHARACTERS:
        raise InvalidInput(f"a storage key has 1 to {MAX_KEY_CHARACTERS} characters, not {len(key)}")
    for segment in key.split("/"):
        if not _SEGMENT.fullmatch(segment):
            raise InvalidInput(
                f"{segment[:80]!r} cannot be in a storage key: use 1 to 200 letters, digits and ._@=+,~- "
                "that do not begin with a dot, divided by single slashes"
            )
    return key


def checked_prefix(prefix: str) -> str:
    """A folder to list, without the trailing slash; empty for everything. Raises `InvalidInput`."""
    folder = prefix.removesuffix("/")
    return checked_key(folder) if folder else ""
