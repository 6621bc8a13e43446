"""What travels through Kafka, for machines: an AsyncAPI 3 document and one JSON Schema a message, from `topics.py`.

`export` writes

    asyncapi.json               channels, operations and messages, complete in itself
    messages/TYPE.schema.json   JSON Schema (draft 2020-12) of a JSON body
    messages/TYPE.arrow.json    the columns and the metadata of an Arrow body
    headers.schema.json         the CloudEvents attributes as Kafka headers, values read as UTF-8

The schemas say snake_case, which is written; the camelCase of the same field is read as well.

Sources: AsyncAPI 3.0.0; AsyncAPI Kafka bindings 0.5.0; CloudEvents 1.0.2, Kafka Protocol Binding.
"""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import PydanticOmit, core_schema

from schemas.base import Message
from schemas.envelope import ARROW_STREAM, JSON
from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.predictions import CONTENT_TYPES, INPUT, SUMMARY, TENSOR_BYTES_CAP, batch_schema, input_type
from schemas.topics import DLQ_SUFFIX, TOPICS, Topic, all_messages

ASYNCAPI = "3.0.0"
KAFKA_BINDING = "0.5.0"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
CONTRACT_VERSION = "1.0.0"
"""Version of the message contract: minor for additions; a break is a new message type instead."""

_TEXT = {"type": "string"}
_NUMBER = {"type": "string", "pattern": r"^[0-9]{1,19}$"}


class _Bodies(GenerateJsonSchema):
    """Leaves out what is no JSON: the rows of an Arrow batch."""

    def is_instance_schema(self, schema: core_schema.IsInstanceSchema) -> JsonSchemaValue:
        """Omit the field."""
        raise PydanticOmit


def message_schema(message: type[Message]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a message's body; of an Arrow message, of the metadata in its schema."""
    schema = message.model_json_schema(schema_generator=_Bodies, mode="validation")
    return {"$schema": DRAFT, "$id": f"urn:{message.TYPE.replace('.', ':')}", **schema}


def headers_schema(message: type[Message] | None = None) -> dict[str, Any]:
    """The headers of a record in binary mode, values read as UTF-8 text; of one message or of any."""
    kind: dict[str, Any] = _TEXT if message is None else {"const": message.TYPE}
    content = sorted({JSON, *CONTENT_TYPES.values()}) if message is None else [content_type(message)]
    return {
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
        "properties": {
            "ce_specversion": {"const": "1.0"},
            "ce_id": {**_TEXT, "minLength": 1, "description": "unique together with ce_source"},
            "ce_source": {**_TEXT, "minLength": 1},
            "ce_type": kind,
            "ce_time": {**_TEXT, "format": "date-time", "description": "UTC; absent: the record's own timestamp"},
            "ce_subject": {**_TEXT, "description": "the entity, as in the record's key"},
            "ce_traceparent": {**_TEXT, "description": "W3C trace context"},
            "ce_revision": {**_NUMBER, "description": "the entity's revision; a reader ignores one it has passed"},
            "ce_causationid": {**_TEXT, "description": "id of the event that caused this one"},
            "ce_correlationid": {**_TEXT, "description": "id of the event that began the chain"},
            "content-type": {"enum": content},
        },
    }


def content_type(message: type[Message]) -> str:
    """The media type of a message's body."""
    return CONTENT_TYPES.get(message, JSON)


def arrow_columns() -> list[dict[str, Any]]:
    """The columns of a prediction batch: name (or pattern), Arrow type, whether null is allowed."""
    feature = Feature(name="NAME", dtype=DType.FLOAT32)
    probabilities = Output(name="p", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES)
    value = Output(name="v", dtype=DType.FLOAT64)
    classifier = batch_schema(Signature(inputs=(feature,), outputs=(probabilities,), classes=("a", "b")))
    regressor = batch_schema(Signature(inputs=(feature,), outputs=(value,)))
    columns: dict[str, dict[str, Any]] = {"prediction_id": {"type": "string", "nullable": False, "optional": True}}
    for field in [*classifier, *regressor]:
        columns[field.name] = {"type": str(field.type), "nullable": field.nullable}
    columns[INPUT + feature.name] = {
        "by_dtype": {dtype.value: str(input_type(feature.model_copy(update={"dtype": dtype}))) for dtype in DType},
        "shaped": f"fixed_size_list of the dtype, row-major, up to {TENSOR_BYTES_CAP} bytes a row",
        "beyond": str(SUMMARY),
        "nullable": True,
    }
    columns["y:probabilities"]["type"] = "fixed_size_list<item: float>[classes]"
    return [{"name": name, **column} for name, column in columns.items()]


def arrow_schema(message: type[Message], metadata: JsonSchemaValue | None = None) -> dict[str, Any]:
    """The description of an Arrow body: one record batch in an IPC stream, metadata under the key `trimtab`.

    `metadata` stands for the JSON Schema of the metadata, where that is found elsewhere.
    """
    return {
        "title": message.__name__,
        "description": _summary(message),
        "mediaType": ARROW_STREAM,
        "metadata": {"trimtab": metadata or message_schema(message)},
        "columns": arrow_columns(),
    }


def document() -> dict[str, Any]:
    """The AsyncAPI 3 document of every topic and message."""
    messages = [message for _, message in all_messages()]
    wanted: list[tuple[type[Message], JsonSchemaMode]] = [(message, "validation") for message in messages]
    references, definitions = models_json_schema(
        wanted, ref_template="#/components/schemas/{model}", schema_generator=_Bodies
    )
    payloads: dict[type[Message], Any] = {}
    for message in messages:
        payload = references[message, "validation"]
        if content_type(message) != JSON:
            payload = {"schemaFormat": content_type(message), "schema": arrow_schema(message, payload)}
        payloads[message] = payload
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "Trimtab",
            "version": CONTRACT_VERSION,
            "description": "Events and commands over Apache Kafka, CloudEvents 1.0 in binary mode. "
            f"A record that can't be handled goes to `TOPIC{DLQ_SUFFIX}` as it came.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": JSON,
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {name: operation for topic in TOPICS for name, operation in _operations(topic)},
        "components": {
            "messages": {message.__name__: _message(message, payloads[message]) for message in messages},
            "schemas": definitions["$defs"],
        },
    }


def export(directory: Path) -> list[Path]:
    """Write the documents into `directory`, made where it is missing; returns the files written."""
    documents: dict[str, dict[str, Any]] = {
        "asyncapi.json": document(),
        "headers.schema.json": {"$schema": DRAFT, "title": "Headers", **headers_schema()},
    }
    for _, message in all_messages():
        if content_type(message) == JSON:
            documents[f"messages/{message.TYPE}.schema.json"] = message_schema(message)
        else:
            documents[f"messages/{message.TYPE}.arrow.json"] = arrow_schema(message)
    written = []
    for name, content in documents.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


def _summary(message: type[Message]) -> str:
    return " ".join((message.__doc__ or "").split())


def _channel(topic: Topic) -> dict[str, Any]:
    kept: dict[str, Any] = {"cleanup.policy": ["compact"]} if topic.compacted else {"retention.ms": topic.retention_ms}
    return {
        "address": topic.name,
        "description": f"Key: {topic.key}. From {topic.producers} to {topic.consumers}.",
        "messages": {
            message.__name__: {"$ref": f"#/components/messages/{message.__name__}"} for message in topic.messages
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {**kept, "max.message.bytes": topic.max_message_bytes},
                "bindingVersion": KAFKA_BINDING,
            }
        },
        "x-default-message": topic.default.__name__,
    }


def _operations(topic: Topic) -> list[tuple[str, dict[str, Any]]]:
    channel = {"$ref": f"#/channels/{topic.name}"}
    return [
        (f"send-{topic.name}", {"action": "send", "channel": channel, "summary": f"By {topic.producers}."}),
        (f"receive-{topic.name}", {"action": "receive", "channel": channel, "summary": f"By {topic.consumers}."}),
    ]


def _message(message: type[Message], payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": message.TYPE,
        "title": message.__name__,
        "summary": _summary(message),
        "contentType": content_type(message),
        "headers": headers_schema(message),
        "payload": payload,
        "correlationId": {"location": "$message.header#/ce_correlationid"},
        "bindings": {"kafka": {"key": {"type": "string", "description": message.KEY}, "bindingVersion": KAFKA_BINDING}},
    }
