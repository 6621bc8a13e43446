"""The topics table: one topic a message, keys that exist, names that Kafka takes."""

import re
import typing

import pytest

from schemas import commands, events, predictions
from schemas.base import Message
from schemas.topics import BY_NAME, DLQ_SUFFIX, TOPICS, Topic, all_messages, message_of, topic_of


def defined_messages() -> set[type[Message]]:
    found: set[type[Message]] = set()
    for module in (commands, events, predictions):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Message) and value is not Message:
                found.add(value)
    return found


def test_every_message_travels_in_exactly_one_topic() -> None:
    listed = [message for _, message in all_messages()]
    assert len(listed) == len(set(listed))
    assert set(listed) == defined_messages()


def test_types_are_unique_and_versioned() -> None:
    types = [message.TYPE for _, message in all_messages()]
    assert len(types) == len(set(types))
    for name in types:
        assert re.fullmatch(r"trimtab\.[a-z-]+(\.[a-z]+)?\.v[1-9]\d*", name), name


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_a_topic_is_complete(topic: Topic) -> None:
    assert re.fullmatch(r"[a-z][a-z-]{1,63}", topic.name)
    assert not topic.name.endswith(DLQ_SUFFIX)
    assert topic.default in topic.messages
    assert topic.producers
    assert topic.consumers
    assert topic.partitions >= 1
    assert topic.retention_ms == -1 or topic.retention_ms >= 24 * 3600 * 1000
    for message in topic.messages:
        assert message.KEY in message.model_fields, f"{message.__name__} has no field {message.KEY}"
        assert topic.key == message.KEY, "one topic, one kind of key: else its order means nothing"


def test_compacted_topics_keep_one_kind_of_state_a_key() -> None:
    assert {topic.name for topic in TOPICS if topic.compacted} == {"deployments", "deployment-status", "access"}


def test_lookups_agree_with_the_table() -> None:
    for topic, message in all_messages():
        assert topic_of(message) is topic
        assert message_of(message.TYPE) is message
        assert BY_NAME[topic.name] is topic
    assert message_of("trimtab.unheard-of.v1") is None


def test_no_message_field_hides_behind_any() -> None:
    """`Any` says nothing to a reader; only free JSON values (facts, inputs) may have it."""
    free = {"facts", "input", "choices"}
    for _, message in all_messages():
        for name, field in message.model_fields.items():
            if name not in free:
                assert field.annotation is not typing.Any, f"{message.__name__}.{name}"
