"""What a call becomes on the wire, and what can't become anything there."""

import json
from typing import Any

from trimtab.calls import Call
from trimtab.errors import InvalidInput


def options_of(call: Call) -> dict[str, Any]:
    """`call` but method and path, for httpx. Raises `InvalidInput` for what no request can carry."""
    options: dict[str, Any] = {
        "params": {name: _sent(name, value) for name, value in call.query.items()},
        "headers": dict(call.headers),
    }
    for name, value in call.headers.items():
        if not (value.isascii() and value.isprintable()):
            raise InvalidInput(f"{name}: {value!r} can't be sent; give printable ASCII characters")
    if call.body is not None:
        options["content"] = body_of(call.body)
        options["headers"].setdefault("Content-Type", "application/json")
    if call.timeout_seconds is not None:
        options["timeout"] = call.timeout_seconds
    return options


def body_of(document: Any) -> bytes:
    """`document` as JSON. Raises `InvalidInput` for what JSON or UTF-8 can't carry."""
    try:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"this can't be sent as JSON: {error}; dates go as text, numbers must be finite") from error
    return _sent("the document", text).encode()


def _sent(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 20) : error.end]
        raise InvalidInput(f"{name}: {near!r} can't be sent; give text in UTF-8") from error
    return text
