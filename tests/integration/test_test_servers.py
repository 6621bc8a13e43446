"""The servers other tests stand on do what those tests take for granted."""

import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.object_store import S3Server
from trimtab.local.broker import LocalBroker


async def test_broker_takes_and_gives_records(broker: LocalBroker, topic_prefix: str) -> None:
    topic = topic_prefix + "greetings"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, b"hello")
    async with AIOKafkaConsumer(topic, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest") as consumer:
        assert (await consumer.getone()).value == b"hello"


def test_postgres_database_is_new_and_real(postgres_url: str) -> None:
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE claims (id int)"))
        assert connection.execute(sa.text("SELECT * FROM claims FOR UPDATE SKIP LOCKED")).all() == []
    engine.dispose()


def test_s3_bucket_keeps_objects(s3_server: S3Server, s3_bucket: str) -> None:
    client = s3_server.client()
    client.put_object(Bucket=s3_bucket, Key="a/b", Body=b"weights")
    assert client.get_object(Bucket=s3_bucket, Key="a/b")["Body"].read() == b"weights"
    assert [item["Key"] for item in client.list_objects_v2(Bucket=s3_bucket)["Contents"]] == ["a/b"]
