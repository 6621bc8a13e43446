"""What pydantic says of a document, in the words of whoever sent it: field names as documented, no Python types."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.alias_generators import to_camel

from schemas.base import Document

_SCALAR = re.compile(r"(constrained-)?(str|int|float|bool|none|date|datetime|decimal|uuid)")
_COMPOSITE = re.compile(
    r"(list|tuple|dict|set|frozenset|literal|nullable|is-instance|lax-or-strict|json-or-python"
    r"|function-(before|after|wrap|plain))\[.*\]"
)
"""What pydantic puts into the path of a value for each type of a union that it tried."""

_FORMS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$": "must be 1 to 128 letters, digits, `.`, `_` or `-`, the first of them a "
    "letter or a digit",
    r"^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})$": "must be a version as 1.4.0: three numbers",
    r"^(@[A-Za-z0-9][A-Za-z0-9._-]{0,127}|(0|[1-9]\d{0,8})(\.(0|[1-9]\d{0,8})){2})$": "must be a version as 1.4.0, or "
    "an alias as @champion",
    r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127}:)?(@[A-Za-z0-9][A-Za-z0-9._-]{0,127}|\d{1,9}(\.\d{1,9}){2})$": "must be a "
    "version as 1.4.0 or an alias as @champion, of another model as its-id:1.4.0",
    r"^[0-9a-f]{64}$": "must be a SHA-256: 64 hexadecimal digits in lower case",
}
"""What the patterns of identifiers ask for, in words."""

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
    if kind == "string_pattern_mismatch" and context["pattern"] in _FORMS:
        return _FORMS[context["pattern"]]
    if kind == "too_short":
        least = context["min_length"]
        return "must not be empty" if least == 1 else f"must have at least {least} items"
    if kind == "too_long":
        return f"must have at most {context['max_length']} {_counted(context)}"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters"
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _counted(context: Mapping[str, Any]) -> str:
    """What a limit of pydantic's counts: it calls a text that was checked before "Value", and lists by their kind."""
    return "characters" if context.get("field_type") == "Value" else "items"


def _snake(part: str | int) -> str:
    """A camelCase field name in snake_case. What no document has as a field, a key of the caller's, stays."""
    return _documented().get(str(part), str(part))


def _documented() -> dict[str, str]:
    """Every field of every document there is, by its camelCase name."""
    kinds: list[type[Document]] = [Document]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {to_camel(name): name for kind in kinds for name in kind.model_fields if to_camel(name) != name}
