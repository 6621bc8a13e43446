"""A monitor on the session's broker."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.kernel.db import Database
from services.kernel.migrate import migrate
from tests.integration.monitor.harness import Monitor
from trimtab.local.broker import LocalBroker


@pytest.fixture
def make_monitor(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> Iterator[Callable[..., Monitor]]:
    """Makes monitors (not started) on the test's own topics and data folder; all are ended at the end."""
    made: list[Monitor] = []

    def make(**settings: Any) -> Monitor:
        monitor = Monitor(broker.bootstrap, topic_prefix, tmp_path, **settings)
        if not made:
            monitor.create_topics()
        made.append(monitor)
        return monitor

    yield make
    for monitor in made:
        if monitor.process is not None:
            monitor.kill()


@pytest.fixture
def monitor(make_monitor: Callable[..., Monitor]) -> Monitor:
    """A running monitor that knows one version."""
    one = make_monitor(monitor_labelled_rows=200)
    one.register()
    one.start()
    one.wait(one.ready, "the monitor is ready")
    return one


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of the monitor."""
    url = f"sqlite:///{tmp_path / 'monitor.db'}"
    database = Database(url if request.param == "sqlite" else request.getfixturevalue("postgres_url"), "monitor")
    migrate(database, "services.monitor.migrations")
    yield database
    database.close()
