"""What this package raises on purpose.

EdgeError
├── InvalidInput      the caller's row does not fit the signature; `features` names what is wrong
│   ├── Malformed     it is not JSON, or not of the shape that is read here
│   └── TooLarge      over a named limit
├── Unauthenticated   no key, or another one
├── NotFound          no such path or model
├── IntegrityFailed   a file of the bundle is not what its manifest says: nothing is answered
├── ModelFailed       the model raised, or what it returned does not fit its signature
├── WrongUse          an option or a file that it names can't be used
├── Refused           the gateway refuses what it was sent, and would refuse it again
└── Unavailable       not now: the log is full, too much is asked at once, or the gateway does not answer
"""

from typing import ClassVar


class EdgeError(Exception):
    """Root of the tree. `code` is stable and machine-readable, `status` that of HTTP, `detail` a sentence."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str, features: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.features = features or {}

    def __str__(self) -> str:
        return self.detail


class InvalidInput(EdgeError):
    """The request does not fit."""

    code, status = "invalid-input", 422


class Malformed(InvalidInput):
    """The body is not JSON, or not of the shape that is read here."""

    code, status = "malformed", 400


class TooLarge(InvalidInput):
    """Over a named limit."""

    code, status = "too-large", 413


class Unauthenticated(EdgeError):
    """No key, or another one."""

    code, status = "unauthenticated", 401


class NotFound(EdgeError):
    """No such path or model."""

    code, status = "not-found", 404


class IntegrityFailed(EdgeError):
    """Bytes do not fit their digest."""

    code = "integrity-failed"


class ModelFailed(EdgeError):
    """The model went wrong; the request did not."""

    code = "model-failed"


class WrongUse(EdgeError):
    """An option, or a file that it names, can't be used."""

    code = "wrong-use"


class Refused(EdgeError):
    """The gateway refuses what it was sent. `answer_status` is its HTTP status."""

    code = "refused"

    def __init__(self, detail: str, answer_status: int) -> None:
        super().__init__(detail)
        self.answer_status = answer_status


class Unavailable(EdgeError):
    """Not now; try again after `retry_after_seconds`."""

    code, status = "unavailable", 503

    def __init__(self, detail: str, retry_after_seconds: float = 5.0) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds
