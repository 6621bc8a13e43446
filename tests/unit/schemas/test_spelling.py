"""JSON is written in snake_case, and the camelCase of the same field is read, in every message and at every depth."""

import json
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from schemas.base import Message
from schemas.codec import decode, encode
from schemas.predictions import PredictionBatch
from tests.golden.samples import SAMPLES

JSON_SAMPLES = [sample for sample in SAMPLES if not isinstance(sample, PredictionBatch)]


def camel(value: Any) -> Any:
    """`value` as JSON with every field's name in camelCase; keys of plain objects are data and stay."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {
            to_camel(fields[name].serialization_alias or name): camel(getattr(value, name))
            for name in fields
            if getattr(value, name) is not None
        }
    if isinstance(value, dict):
        return {key: camel(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [camel(item) for item in value]
    return value.value if isinstance(value, Enum) else value


@pytest.mark.parametrize("sample", JSON_SAMPLES, ids=lambda sample: sample.TYPE)
def test_camel_case_says_the_same(sample: Message) -> None:
    body = json.dumps(camel(sample), default=lambda value: value.isoformat()).encode()
    assert decode(type(sample), body) == sample


@pytest.mark.parametrize("sample", JSON_SAMPLES, ids=lambda sample: sample.TYPE)
def test_what_is_written_is_snake_case(sample: Message) -> None:
    written = json.loads(encode(sample)[1])
    aliases = {field.serialization_alias or name for name, field in type(sample).model_fields.items()}
    assert set(written) <= aliases
    assert all(name == name.lower() for name in written)
