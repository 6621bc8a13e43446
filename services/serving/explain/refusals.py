"""What an explanation can be refused for, beyond the kernel's errors, and their way over the pipe: by code."""

from services.kernel.errors import (
    Conflict,
    Failed,
    IntegrityFailed,
    InvalidInput,
    NotBuilt,
    TooLarge,
    TrimtabError,
    Unavailable,
)
from services.serving.runtime import RuntimeFailed


class NoBaselineSample(Conflict):
    """The version has no rows that an explanation could compare with."""

    code = "no-baseline-sample"


class OutOfMemory(TooLarge):
    """The explanation needed more memory than it may take."""

    code = "explanation-out-of-memory"


class ExplainerDied(Unavailable):
    """The process that explains has ended."""

    code = "explainer-died"


class ExplanationTimedOut(Unavailable):
    """The explanation took longer than it may."""

    code = "explanation-timed-out"


_KINDS: dict[str, type[TrimtabError]] = {
    kind.code: kind
    for kind in (
        Failed,
        IntegrityFailed,
        InvalidInput,
        NoBaselineSample,
        NotBuilt,
        OutOfMemory,
        RuntimeFailed,
        TooLarge,
        Unavailable,
    )
}


def error_of(code: str, detail: str) -> TrimtabError:
    """The error that the child was refused with.

    >>> error_of("no-baseline-sample", "none")
    NoBaselineSample('none')
    """
    return _KINDS.get(code, Failed)(detail)
