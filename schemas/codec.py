"""Message <-> body bytes. JSON for all but the prediction batches, which are Arrow."""

from typing import TypeVar

from pydantic import ValidationError

from schemas.base import Message
from schemas.envelope import ARROW_STREAM, JSON
from schemas.predictions import BadBatch, PredictionBatch

M = TypeVar("M", bound=Message)


class BadBody(ValueError):
    """The body does not fit the message that its type names."""


def encode(message: Message) -> tuple[str, bytes]:
    """(content type, body) of `message`."""
    if isinstance(message, PredictionBatch):
        return ARROW_STREAM, message.encode()
    return JSON, message.model_dump_json(by_alias=True, exclude_none=True).encode()


def decode(kind: type[M], body: bytes) -> M:
    """Read `body` as a `kind`. Raises `BadBody` with a sentence that names the fields."""
    try:
        if issubclass(kind, PredictionBatch):
            return kind.decode(body)
        return kind.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors())
        raise BadBody(f"not a {kind.__name__}: {problems}") from error
    except BadBatch as error:
        raise BadBody(str(error)) from error
