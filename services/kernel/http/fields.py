"""What pydantic says of a document, in the words of whoever sent it: field names as documented, no Python types."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.alias_generators import to_camel, to_snake

_SCALAR = re.compile(r"(constrained-)?(str|int|float|bool|none|date|datetime|decimal|uuid)")
_COMPOSITE = re.compile(
    r"(list|tuple|dict|set|frozenset|literal|nullable|is-instance|lax-or-strict|json-or-python"
    r"|function-(before|after|wrap|plain))\[.*\]"
)
"""What pydantic puts into the path of a value for each type of a union that it tried."""

_LISTS = ("tuple_type", "list_type", "set_type", "frozen_set_type", "iterable_type")
_OBJECTS = ("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type")


def field_of(path: Sequence[str | int], kind: str) -> str:
    """The dotted path of the field, in snake_case, as the API documents it. An unknown one stays as it was written."""
    parts = list(path[1:] if path[:1] == ("body",) else path)
    parts = [part for part in parts if isinstance(part, int) or not _COMPOSITE.fullmatch(part)]
    if len(parts) > 1 and isinstance(parts[-1], str) and _SCALAR.fullmatch(parts[-1]):
        parts.pop()
    written = parts.pop() if kind == "extra_forbidden" and parts else None
    names = [_snake(part) for part in parts]
    if written is not None:
        names.append(str(written))
    return ".".join(names) or "body"


def sentence_of(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """What is wrong with the field."""
    if kind in _LISTS:
        return "must be a list"
    if kind in _OBJECTS:
        return "must be an object"
    if kind == "extra_forbidden":
        return "is not a field of this document"
    if kind == "too_short":
        least = context["min_length"]
        return "must not be empty" if least == 1 else f"must have at least {least} items"
    if kind == "too_long":
        return f"must have at most {context['max_length']} items"
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _snake(part: str | int) -> str:
    """A camelCase field name in snake_case. What is no such name, a key of the caller's for example, stays."""
    if isinstance(part, str) and part.isidentifier() and to_camel(to_snake(part)) == part:
        return to_snake(part)
    return str(part)
