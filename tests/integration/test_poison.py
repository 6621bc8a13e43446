"""A record that no client can read stops its own partition only, is named, and can be stepped over."""

import hashlib
import json
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from schemas.events import ApiKeyGranted, Label, LabelsObserved, Scope
from services.kernel.bus import dead_letters
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.bus.table_reader import TableReader
from services.kernel.bus.tail import read_to_end
from tests.integration.test_bus import _has
from tests.probe.app import ProbeSettings, build
from tests.waiting import until
from trimtab.local.broker import LocalBroker


async def produce_unreadable(bootstrap: str, topic: str, partition: int) -> int:
    """A batch with a header key that is not UTF-8, checksummed as a broker accepts it. Returns its offset."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch.append(key=b"k", value=b"v", timestamp=None, headers=[("KEYX", b"1")])
        batch.close()
        finished = batch._build

        def build() -> bytearray:
            buffer = bytearray(finished())
            at = bytes(buffer).index(b"KEYX")
            buffer[at : at + 4] = b"\xff\xfe\xfd\xfc"
            buffer[17:21] = calc_crc32c(bytes(buffer[21:])).to_bytes(4, "big")
            batch._buffer = buffer
            return buffer

        batch._build = build
        return int((await (await producer.send_batch(batch, topic, partition=partition))).offset)
    finally:
        await producer.stop()


def label(name: str) -> bytes:
    return LabelsObserved(model_id="m", labels=(Label(prediction_id=name, label="a"),)).model_dump_json().encode()


async def test_an_unreadable_record_stops_its_partition_only_and_can_be_skipped(
    broker: LocalBroker, topic_prefix: str, tmp_path: Path
) -> None:
    settings = ProbeSettings(
        kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix, topic_partitions=2, data_dir=tmp_path
    )
    await apply_topics(settings)
    producer = Producer(settings, "test")
    await producer.start()
    await producer.send("labels", label("before"), partition=0)
    offset = await produce_unreadable(broker.bootstrap, f"{topic_prefix}labels", 0)
    await producer.send("labels", label("behind"), partition=0)
    await producer.send("labels", label("neighbour"), partition=1)
    service = build(settings)
    await service.start()
    (member,) = service.members
    try:
        await until(lambda: _has(service, "before", "neighbour"), timeout_seconds=20)
        await until(lambda: member.stopped_partitions, what="the partition is stopped and named")
        await producer.send("labels", label("neighbour-2"), partition=1)
        await until(lambda: _has(service, "neighbour-2"))
        assert not await _has(service, "behind")
        assert not member.skip(f"{topic_prefix}labels", 7, offset)
        assert member.skip(f"{topic_prefix}labels", 0, offset)
        await until(lambda: _has(service, "behind"))
        assert member.stopped_partitions == {}
    finally:
        await service.stop()
        await producer.stop()


async def test_a_table_steps_over_an_unreadable_record(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> None:
    settings = ProbeSettings(kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix, data_dir=tmp_path)
    await apply_topics(settings)
    producer = Producer(settings, "test")
    await producer.start()
    seen: list[str] = []
    reader = TableReader(settings, "access", lambda key, message, envelope: seen.append(key))
    for key in ("before", "behind"):
        grant = ApiKeyGranted(key_id=key, name=key, sha256="0", scopes=(Scope.READ,))
        await producer.send("access", grant.model_dump_json().encode(), key=key.encode())
        if key == "before":
            await produce_unreadable(broker.bootstrap, f"{topic_prefix}access", 0)
    try:
        await reader.start()
        await until(reader.caught_up.is_set, timeout_seconds=20)
        assert seen == ["before", "behind"]
        assert reader.task is not None
        assert not reader.task.done()
        found = [record.key async for record in read_to_end(settings, "access")]
        assert found == [b"before", b"behind"]
    finally:
        await reader.stop()
        await producer.stop()


async def test_a_record_too_large_to_bury_whole_is_buried_with_its_digest(
    broker: LocalBroker, topic_prefix: str, tmp_path: Path
) -> None:
    settings = ProbeSettings(
        kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix, topic_partitions=1, data_dir=tmp_path
    )
    await apply_topics(settings)
    packed = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, compression_type="gzip", max_request_size=8 << 20)
    await packed.start()
    body = b"x" * (3 << 20)  # small on the wire, larger than the dead-letter topic takes when unpacked
    await packed.send_and_wait(f"{topic_prefix}labels", body)
    await packed.send_and_wait(f"{topic_prefix}labels", label("after"))
    await packed.stop()
    service = build(settings)
    await service.start()
    try:
        await until(lambda: _has(service, "after"), timeout_seconds=20)
        (letter,) = [letter async for letter in dead_letters.letters(settings, "labels")]
        assert letter.value == body[: dead_letters.KEPT_BYTES]
        (record,) = [record async for record in read_to_end(settings, "labels.dlq")]
        about = json.loads(record.header("trimtab_dlq_about") or b"")
        assert about["whole_bytes"] == len(body)
        assert about["whole_sha256"] == hashlib.sha256(body).hexdigest()
    finally:
        await service.stop()
