"""The generated documents: valid AsyncAPI 3, and true to what the code reads and writes."""

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from schemas import asyncapi
from schemas.base import Message
from schemas.codec import encode
from schemas.envelope import JSON, to_headers
from schemas.topics import TOPICS, all_messages
from tests.golden.samples import SAMPLES
from tests.golden.write import envelope

ASSETS = Path(__file__).parents[2] / "assets"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The AsyncAPI document."""
    return asyncapi.document()


@pytest.fixture(scope="module")
def specification() -> Draft7Validator:
    """AsyncAPI's own JSON Schema of version 3.0.0."""
    return Draft7Validator(json.loads(gzip.decompress((ASSETS / "asyncapi-3.0.0.schema.json.gz").read_bytes())))


def test_the_document_is_valid_asyncapi_3(document: dict[str, Any], specification: Draft7Validator) -> None:
    assert [error.message for error in specification.iter_errors(document)] == []


@pytest.mark.parametrize("place", ["channels", "operations", "components.messages"])
def test_the_specification_would_find_a_fault(
    document: dict[str, Any], specification: Draft7Validator, place: str
) -> None:
    broken = copy.deepcopy(document)
    target = broken
    for name in place.split("."):
        target = target[name]
    next(iter(target.values()))["nonsense"] = 1
    assert not specification.is_valid(broken)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def walk(node: Any) -> list[str]:
        if isinstance(node, dict):
            here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return here + [ref for child in node.values() for ref in walk(child)]
        return [ref for child in node for ref in walk(child)] if isinstance(node, list) else []

    references = walk(document)
    assert references
    for reference in references:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_channels_and_messages_are_those_of_the_topics_table(document: dict[str, Any]) -> None:
    assert list(document["channels"]) == [topic.name for topic in TOPICS]
    for topic in TOPICS:
        channel = document["channels"][topic.name]
        assert list(channel["messages"]) == [message.__name__ for message in topic.messages]
        assert channel["bindings"]["kafka"]["partitions"] == topic.partitions
        assert f"Key: {topic.key}." in channel["description"]
        assert {f"send-{topic.name}", f"receive-{topic.name}"} <= set(document["operations"])
    assert set(document["components"]["messages"]) == {message.__name__ for _, message in all_messages()}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.TYPE)
def test_what_we_write_fits_the_schemas(sample: Message) -> None:
    headers = {name: value.decode() for name, value in to_headers(envelope(sample))}
    Draft202012Validator(asyncapi.headers_schema(type(sample))).validate(headers)
    Draft202012Validator(asyncapi.headers_schema()).validate(headers)
    schema = asyncapi.message_schema(type(sample))
    Draft202012Validator.check_schema(schema)
    content_type, body = encode(sample)
    validator = Draft202012Validator(schema)
    validator.validate(json.loads(body) if content_type == JSON else sample.model_dump(mode="json"))
    assert not validator.is_valid({})


def test_the_arrow_description_names_the_columns_that_are_written() -> None:
    columns = {column["name"]: column for column in asyncapi.arrow_columns()}
    assert columns["time"]["type"] == "timestamp[us, tz=UTC]"
    assert columns["latency_us"] == {"name": "latency_us", "type": "uint32", "nullable": False}
    assert columns["x:NAME"]["by_dtype"]["float32"] == "float"
    assert {"prediction_id", "y:label", "y:score", "y:probabilities", "y:value"} <= set(columns)


def test_export_writes_one_file_a_message(tmp_path: Path) -> None:
    written = asyncapi.export(tmp_path / "new")
    names = {path.relative_to(tmp_path / "new").as_posix() for path in written}
    assert {"asyncapi.json", "headers.schema.json"} <= names
    assert len(names) == 2 + len(list(all_messages()))
    assert "messages/trimtab.prediction.batch.v1.arrow.json" in names
    for path in written:
        assert isinstance(json.loads(path.read_text()), dict)
    assert asyncapi.export(tmp_path / "new") == written
