"""A record that no client can read stops its own partition only, is named, and can be stepped over."""

from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from schemas.events import Label, LabelsObserved
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from tests.integration.test_bus import _has
from tests.probe.app import ProbeSettings, build
from tests.waiting import until
from trimtab.local.broker import LocalBroker

BODY = '{{"model_id": "m", "labels": [{{"prediction_id": "{0}", "label": "a"}}]}}'


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
