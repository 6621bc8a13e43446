"""The one error tree.

TrimtabError
├── InvalidInput            the caller's document or argument is wrong; the detail names the field
│   ├── TooLarge            a body, file or batch is over its named limit
│   └── UnsupportedMedia    a content type that is never read (pickles among them)
├── Unauthenticated         no key, or one that is unknown
├── Forbidden               the key lacks the scope or the model prefix
├── NotFound                no such entity
├── Conflict                the entity's state does not allow it
│   └── PreconditionFailed  the revision in If-Match is not the current one
├── NotBuilt                known to the protocol, not built in this release
├── Undecodable             a record that no retry will make readable
├── IntegrityFailed         bytes do not fit their digest
├── Failed                  not the caller's fault: a model or this project itself went wrong
├── Misconfigured           a setting is missing or contradicts another; the process can't start
└── Unavailable             a dependency or a queue; `retriable`
    ├── Overloaded          a bounded queue is full; try again after `retry_after_seconds`
    └── NoRoom              a disk, a quota or a share of one is full

`code` is stable and machine-readable; `detail` is a sentence that says what to do. HTTP status codes live in
`services.kernel.http.problems` only.
"""

from typing import Any, ClassVar


class TrimtabError(Exception):
    """Root of every error that this project raises on purpose."""

    code: ClassVar[str] = "error"
    retriable: ClassVar[bool] = False

    def __init__(self, detail: str, **facts: Any) -> None:
        """`detail` is a sentence for a person; `facts` are extra members for a machine."""
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class InvalidInput(TrimtabError):
    """The caller's document or argument is wrong."""

    code = "invalid-input"


class TooLarge(InvalidInput):
    """Over a named limit."""

    code = "too-large"


class UnsupportedMedia(InvalidInput):
    """A content type that is never read."""

    code = "unsupported-media-type"


class Unauthenticated(TrimtabError):
    """No key, or an unknown one."""

    code = "unauthenticated"


class Forbidden(TrimtabError):
    """The key does not allow this."""

    code = "forbidden"


class NotFound(TrimtabError):
    """No such entity."""

    code = "not-found"


class Conflict(TrimtabError):
    """The entity's state does not allow it."""

    code = "conflict"


class PreconditionFailed(Conflict):
    """The expected revision is not the current one."""

    code = "precondition-failed"


class NotBuilt(TrimtabError):
    """Part of the protocol, not built in this release."""

    code = "not-built"


class Undecodable(TrimtabError):
    """A record that no retry will make readable."""

    code = "undecodable"


class IntegrityFailed(TrimtabError):
    """Bytes do not fit their digest."""

    code = "integrity-failed"


class Failed(TrimtabError):
    """A model or this server went wrong; the request did not."""

    code = "internal"


class Misconfigured(TrimtabError):
    """The process can't start with these settings."""

    code = "misconfigured"


class Unavailable(TrimtabError):
    """A dependency does not answer right now."""

    code = "unavailable"
    retriable = True


class Overloaded(Unavailable):
    """A bounded queue is full."""

    code = "overloaded"

    def __init__(self, detail: str, retry_after_seconds: float = 1.0, **facts: Any) -> None:
        super().__init__(detail, **facts)
        self.retry_after_seconds = retry_after_seconds


class NoRoom(Unavailable):
    """A disk is full, or the share of it that this may take."""

    code = "no-room"
