"""A running installation is saved, lost with its Kafka, and brought back: the same version answers, nothing twice."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.kernel.bus.tail import read_to_end
from services.kernel.db import Database
from services.kernel.settings import SERVICES, Settings
from services.monitor.tables import tallies
from services.registry import audit
from tests.graphs import classifier
from tests.waiting import until_sync
from trimtab import Client
from trimtab.errors import TrimtabError
from trimtab.local.ports import free_ports

pytestmark = [pytest.mark.timeout(600)]

MODEL = "threat-classifier"
ONLY = "registry,serving,monitor,loop"


class Installation:
    """An installation in a folder, on ports of its own."""

    def __init__(self, folder: Path) -> None:
        names = [*(f"{name}_port" for name in SERVICES), "metrics_port", "broker_port", "broker_controller_port"]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.data = folder / "data"
        self.environment = {**os.environ, **{f"TRIMTAB_{name.upper()}": str(port) for name, port in self.ports.items()}}
        self.environment |= {"TRIMTAB_DATA_DIR": str(self.data), "TRIMTAB_URL": self.url}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['serving_port']}"

    @property
    def settings(self) -> Settings:
        """What reaches its Kafka and databases."""
        return Settings(kafka_bootstrap=f"127.0.0.1:{self.ports['broker_port']}", data_dir=self.data)

    def trimtab(self, *arguments: str, status: int = 0) -> Any:
        """Run a command; its JSON document, or the error's."""
        command = [sys.executable, "-m", "trimtab", *arguments, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == status, done.stderr
        return json.loads(done.stdout if status == 0 else done.stderr.splitlines()[-1])

    @contextmanager
    def up(self) -> Iterator[Client]:
        """It runs, and is stopped in order."""
        command = [sys.executable, "-m", "trimtab", "up", "--json", "--only", ONLY]
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert any(json.loads(line)["event"] == "up" for line in process.stdout), "it ended and was never up"
                with Client(self.url) as client:
                    yield client
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)

    def events(self, topic: str) -> list[tuple[str, str, int | None]]:
        """(id, type, revision) of every event in a topic."""

        async def read() -> list[tuple[str, str, int | None]]:
            found = [record.message()[0] async for record in read_to_end(self.settings, topic)]
            return [(envelope.id, envelope.type, envelope.revision) for envelope in found]

        return asyncio.run(read())

    def ask(self, service: str, fn: Any) -> Any:
        """What a query of a service's database gives."""
        database = Database(self.settings.database_of(service), service)
        try:
            return database.read_now(fn)
        finally:
            database.close()

    def counted(self) -> int:
        """Rows that the monitor has counted."""
        return int(self.ask("monitor", lambda c: c.execute(sa.select(sa.func.sum(tallies.c.rows))).scalar()) or 0)


def predict(client: Client) -> Any:
    """An answer, once there is one."""

    def answer() -> Any:
        try:
            return client.predict(MODEL, {"duration": 1.0, "protocol": "tcp"})
        except TrimtabError:
            return None

    return until_sync(answer, 60, "an answer")


def test_an_installation_that_was_lost_with_its_kafka_is_brought_back(tmp_path: Path, broker_jars: Path) -> None:
    here, folder = Installation(tmp_path), str(tmp_path / "backup")
    graph = tmp_path / "model.onnx"
    graph.write_bytes(classifier(1).SerializeToString())
    with here.up() as client:
        version = client.register_model(graph, model_id=MODEL)["version"]
        for stage in ("staging", "production"):
            client.promote(MODEL, version, stage, comment=f"to {stage}")
        client.deploy(MODEL)
        key = client.create_key("ci", ["predict"])
        assert predict(client)["version"] == version
        before = [predict(client) for _ in range(9)][-1]
        until_sync(lambda: here.counted() == 10, 60, "the count of ten predictions")
        history = client.history(MODEL)
        events = here.events("model-events")
        assert [kind for _, kind, _ in events] == ["trimtab.model.registered.v1"] + ["trimtab.model.promoted.v1"] * 2
        saved = here.trimtab("backup", folder)
        assert {part["what"]: part["count"] for part in saved["parts"]}["artifacts"] == 2
        refused = here.trimtab("restore", folder, status=1)
        assert refused["error"] == "data-dir-busy"
    assert here.trimtab("backup", folder)["parts"][0]["count"] == saved["parts"][0]["count"], "saved while it is down"

    shutil.rmtree(here.data)
    restored = here.trimtab("restore", folder)
    assert restored["audit_broken_at"] is None
    assert restored["events_told_again"] >= len(events) + 2, "the events, the deployment, the key"
    with here.up() as client:
        after = predict(client)
        assert (after["version"], after["prediction"]) == (version, before["prediction"])
        assert client.history(MODEL) == history
        assert [each["key_id"] for each in client.keys()["keys"]] == [key["key_id"]]
        until_sync(lambda: here.events("model-events") == events, 60, "the events, each with its id and revision")
        assert [revision for _, _, revision in here.events("deployments")] == [1]
        assert len(here.events("access")) == 1
        until_sync(lambda: here.counted() == 11, 60, "the count of one more prediction")
        assert here.ask("registry", audit.broken_at) is None
        second = client.register_model(_other(tmp_path), model_id=MODEL, changes="other weights")["version"]
        client.promote(MODEL, second, "staging")
        client.deploy(MODEL, second, canary=10)
        until_sync(lambda: here.events("deployments")[-1][2] == 2, 30, "the next revision")
        told = here.trimtab("events", "replay", "--topic", "model-events")
        assert told["events"] == 5
        until_sync(lambda: len(here.events("model-events")) == 10, 30, "the same events once more")
        told_twice = here.events("model-events")
        assert told_twice[5:] == told_twice[:5]
        assert told_twice[:3] == events
        assert here.trimtab("dlq", "list")["letters"] == []


def test_kafka_survives_and_the_databases_do_not(tmp_path: Path, broker_jars: Path) -> None:
    here, folder = Installation(tmp_path), str(tmp_path / "backup")
    graph = tmp_path / "model.onnx"
    graph.write_bytes(classifier(1).SerializeToString())
    with here.up() as client:
        version = client.register_model(graph, model_id=MODEL)["version"]
        for stage in ("staging", "production"):
            client.promote(MODEL, version, stage)
        client.deploy(MODEL)
        predict(client)
        until_sync(lambda: here.counted() == 1, 60, "the count")
        here.trimtab("backup", folder)
        predict(client)
        until_sync(lambda: here.counted() == 2, 60, "the count of a prediction after the backup")
    _lose_databases(here)
    restored = here.trimtab("restore", folder)
    assert restored["events_told_again"] == 0, "the topics hold them"
    assert here.counted() == 1
    with here.up() as client:
        until_sync(lambda: here.counted() == 2, 60, "the prediction after the backup, counted again")
        second = client.register_model(_other(tmp_path), model_id=MODEL, changes="other weights")["version"]
        client.archive(MODEL, second)
        until_sync(lambda: len(here.events("model-events")) == 5, 30, "two more events")
    _lose_databases(here)
    refused = here.trimtab("restore", folder, status=1)
    assert refused["error"] == "not-empty"
    assert "2 in model-events" in refused["detail"]
    assert "--renew-topics" in refused["detail"]
    assert here.trimtab("restore", folder, "--renew-topics")["events_told_again"] == 3
    with here.up() as client:
        assert predict(client)["version"] == version
        until_sync(lambda: len(here.events("model-events")) == 3, 30, "the events that the backup knows")
        until_sync(lambda: here.counted() == 3, 60, "all predictions")


def _lose_databases(here: Installation) -> None:
    for pattern in ("*.db*", "monitor-spool", "serving.json"):
        for path in here.data.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _other(folder: Path) -> Path:
    graph = folder / "other.onnx"
    graph.write_bytes(classifier(2).SerializeToString())
    return graph
