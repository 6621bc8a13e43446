"""The base of every model that crosses a boundary.

JSON is written in snake_case; the camelCase spelling of the same field is read everywhere.
"""

import math
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel


def _either_case(name: str) -> AliasChoices:
    return AliasChoices(name, to_camel(name))


def _utc(value: datetime) -> datetime:
    if value.utcoffset() != timedelta(0):
        raise ValueError("a time must be in UTC, for example 2026-01-31T12:00:00Z")
    return value


UtcTime = Annotated[datetime, AfterValidator(_utc)]
"""A timezone-aware time in UTC; RFC 3339 in JSON."""


def _nan_for_null(value: Any) -> Any:
    return math.nan if value is None else value


Measured = Annotated[
    float, BeforeValidator(_nan_for_null), WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]})
]
"""A computed number. JSON has no NaN and no infinity: either is written as null, and null is read as NaN."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""An identifier that is safe as a Kafka key, a path segment and a label: 1 to 128 of letters, digits, `._-`."""

Version = Annotated[str, StringConstraints(pattern=r"^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})$")]
"""A semantic version `MAJOR.MINOR.PATCH`, for example `1.0.20240614`."""


class Document(BaseModel):
    """A frozen document. Unknown fields are ignored, so that an older reader understands a newer writer."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=AliasGenerator(validation_alias=_either_case),
        populate_by_name=True,
        protected_namespaces=(),
        ser_json_inf_nan="null",
    )


class StrictDocument(Document):
    """A document written by a person: an unknown field is an error that names it, not silence."""

    model_config = ConfigDict(extra="forbid")


class Message(Document):
    """A document that travels through Kafka.

    `TYPE` is the CloudEvents type; `KEY` names the field that holds the entity whose order matters.
    """

    TYPE: ClassVar[str]
    KEY: ClassVar[str]

    @property
    def key(self) -> str:
        """The Kafka key, the id of the entity whose order matters."""
        return str(getattr(self, self.KEY))


JsonValue = Any
"""Any JSON value (numbers, strings, booleans, null, lists, objects)."""
