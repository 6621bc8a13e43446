"""The Faust example, in its own environment, reads what we write to a real broker.

Making the environment takes about 20 s, once a lock file: it is kept below `.cache/`.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.codec import encode
from schemas.envelope import to_headers
from schemas.events import DriftFound, PerformanceWorse
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.leash import leashed
from services.kernel.settings import Settings
from tests.environments import ROOT, locked_environment
from tests.golden.samples import SAMPLES
from tests.golden.write import envelope
from tests.waiting import until
from trimtab.local.broker import LocalBroker

EXAMPLE = ROOT / "examples" / "faust"
LOCK = EXAMPLE / "requirements.lock"


@pytest.fixture(scope="session")
def faust_python() -> Path:
    """The Python of an environment that holds exactly what the example's lock file lists."""
    return locked_environment("faust", LOCK)


@pytest.fixture
def worker(
    faust_python: Path, broker: LocalBroker, topic_prefix: str, tmp_path: Path
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """A running worker of the example on this test's topics, and the file that takes its output."""
    environment = {
        "PATH": os.environ["PATH"],
        "BROKER": f"kafka://{broker.bootstrap}",
        "TOPIC": f"{topic_prefix}drift-signals",
        "GROUP": f"{topic_prefix}faust",
    }
    output = tmp_path / "output"
    with output.open("wb") as target:
        process = subprocess.Popen(
            leashed(
                [faust_python, EXAMPLE / "drift_alarm.py", "--datadir", tmp_path / "data", "worker", "--without-web"]
            ),
            cwd=tmp_path,
            env=environment,
            stdout=target,
            stderr=subprocess.STDOUT,
        )
    yield process, output
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def settings(broker: LocalBroker, topic_prefix: str) -> Settings:
    return Settings(kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix)


@pytest.fixture
async def topics(broker: LocalBroker, topic_prefix: str) -> None:
    """The topics, before the worker asks for them."""
    await apply_topics(settings(broker, topic_prefix))


@pytest.mark.timeout(400)
async def test_a_faust_worker_reads_our_signals(
    topics: None, worker: tuple["subprocess.Popen[bytes]", Path], broker: LocalBroker, topic_prefix: str
) -> None:
    process, output = worker
    producer = Producer(settings(broker, topic_prefix), "test")
    await producer.start()
    for sample in SAMPLES:
        if isinstance(sample, DriftFound | PerformanceWorse):
            _, body = encode(sample)
            await producer.send("drift-signals", body, key=sample.key.encode(), headers=to_headers(envelope(sample)))
    await producer.stop()

    def both() -> bool:
        assert process.poll() is None, output.read_text()
        text = output.read_text()
        return "DRIFT" in text and "WORSE" in text

    await until(both, 60, "two lines of the worker")
    text = output.read_text()
    assert "DRIFT raised in threat-classifier 1.0.20260601: src_bytes (1000 rows)" in text
    assert "WORSE threat-classifier 1.0.20260601: accuracy 0.776, was 0.992" in text


def test_the_lock_names_no_address_and_hashes_everything() -> None:
    lines = LOCK.read_text().splitlines()
    assert not [line for line in lines if "://" in line]
    packages = [line for line in lines if "==" in line]
    assert packages
    assert all(line.endswith("\\") for line in packages)
