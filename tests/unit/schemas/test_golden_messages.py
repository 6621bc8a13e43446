"""What a released version wrote, today's code reads, and writes nothing of it differently."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.base import Message
from schemas.codec import decode, encode
from schemas.envelope import JSON, Envelope, read_record, to_headers
from schemas.predictions import PredictionBatch
from schemas.topics import BY_NAME, all_messages, message_of, topic_of
from tests.golden.samples import EARLIER, SAMPLES, golden_name
from tests.golden.write import MESSAGES

FILES = sorted(MESSAGES.glob("*.json"))


def read(path: Path) -> tuple[dict[str, Any], Envelope, Message]:
    record = json.loads(path.read_text(encoding="utf-8"))
    arrow = path.with_name(f"{path.stem}.arrow")
    value = arrow.read_bytes() if arrow.exists() else json.dumps(record["body"]).encode()
    envelope, body = read_record(
        topic=record["topic"],
        partition=0,
        offset=0,
        timestamp_ms=0,
        headers=[(name, text.encode()) for name, text in record["headers"].items()],
        value=value,
        default_type=BY_NAME[record["topic"]].default.TYPE,
    )
    kind = message_of(envelope.type)
    assert kind is not None
    return record, envelope, decode(kind, body)


def keeps(old: Any, new: Any) -> bool:
    """Whether `new` says all that `old` says; a later release may add members."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(name in new and keeps(value, new[name]) for name, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(keeps, old, new))
    return bool(old == new)


def test_every_message_has_a_golden_file() -> None:
    assert {path.stem for path in FILES} >= {message.TYPE for _, message in all_messages()}


def test_a_sample_fills_in_every_field() -> None:
    for sample in SAMPLES:
        assert sample.model_fields_set == set(type(sample).model_fields), sample.TYPE


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_is_read_and_written_alike(path: Path) -> None:
    record, envelope, message = read(path)
    assert (topic_of(type(message)).name, message.key) == (record["topic"], record["key"])
    headers = {name: value.decode() for name, value in to_headers(envelope)}
    assert keeps(record["headers"], headers)
    content_type, body = encode(message)
    assert content_type == record["headers"]["content-type"]
    if content_type == JSON:
        assert keeps(record["body"], json.loads(body))
    else:
        assert isinstance(message, PredictionBatch)
        again = PredictionBatch.decode(body)
        assert again.rows.schema.equals(message.rows.schema)
        old, new = (json.loads(batch.rows.schema.metadata[b"trimtab"]) for batch in (message, again))
        assert keeps(old, new)
        assert repr(again.rows.to_pylist()) == repr(message.rows.to_pylist())  # NaN, which equals nothing, included
        assert again.model_dump(exclude={"rows"}) == message.model_dump(exclude={"rows"})
        assert keeps([row["y:label"] for row in message.rows.to_pylist()], ["dos", "normal", None])


def test_a_golden_file_still_means_what_it_meant() -> None:
    meanings = EARLIER | {golden_name(sample): sample for sample in SAMPLES}
    assert meanings.keys() == {path.stem for path in FILES}
    for name, sample in meanings.items():
        _, _, message = read(MESSAGES / f"{name}.json")
        if isinstance(sample, PredictionBatch):
            assert isinstance(message, PredictionBatch)
            assert message.model_dump(exclude={"rows"}) == sample.model_dump(exclude={"rows"})
            assert message.prediction_ids() == sample.prediction_ids()
            assert message.rows.column("x:protocol_type").to_pylist() == ["tcp", "?", None]
        else:
            assert message == sample
