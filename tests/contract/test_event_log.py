"""The outbox as a log, on both databases: what is kept, what is forgotten, what is sent again."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.kernel.bus import outbox as relay
from services.kernel.bus import replay
from services.kernel.bus.producer import Producer
from services.kernel.bus.replay import Selection
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.settings import Settings
from services.kernel.tables import outbox

DAY = 24 * 3600.0
OLD = time.time() - 8 * DAY
YOUNG = time.time() - DAY


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database."""
    sqlite = f"sqlite:///{tmp_path / 'probe.db'}"
    database = Database(sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url"), "probe")
    migrate(database, "tests.probe.migrations")
    yield database
    database.close()


def row(topic: str, key: str = "m", *, kind: str = "a.v1", at: float = OLD, **changes: Any) -> dict[str, Any]:
    """A row that was published when it was written."""
    headers = json.dumps([["ce_id", "1"], ["ce_type", kind], ["ce_revision", "1"]])
    made = {"id": "1", "topic": topic, "key": key, "headers": headers, "body": b"{}", "at": at, "published_at": at}
    return {**made, "parked": None, **changes}


def insert(db: Database, *rows: dict[str, Any]) -> None:
    db.write_now(lambda connection: connection.execute(outbox.insert(), list(rows)))


def seqs(db: Database, *conditions: sa.ColumnElement[bool]) -> list[int]:
    return db.read_now(
        lambda c: list(c.execute(sa.select(outbox.c.seq).where(*conditions).order_by(outbox.c.seq)).scalars())
    )


async def test_what_is_kept_for_ever_is_never_forgotten_and_the_rest_after_a_week(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PRUNE_ROWS", 2)
    insert(
        db,
        *(row("model-events"), row("alerts"), row("deployments"), row("alerts"), row("access"), row("loop-events")),
        *(row("alerts"), row("training-events"), row("alerts", at=YOUNG), row("alerts", published_at=None)),
        *(row("alerts", published_at=None, parked="too-large"), row("alerts")),
    )
    pruning = relay.Relay(db, Producer(Settings(), "test"))
    await pruning._prune()
    assert seqs(db) == [1, 3, 5, 6, 9, 10, 11]
    assert pruning._pruned_to == 9, "what is kept is not looked at again"
    db.write_now(lambda c: c.execute(outbox.update().where(outbox.c.seq.in_([9, 10])).values(published_at=OLD)))
    pruning._pruned_at = float("-inf")
    await pruning._prune()
    assert seqs(db) == [1, 3, 5, 6, 11]
    assert pruning._pruned_to == 12


def test_a_replay_counts_by_topic_and_type_and_marks_the_same_rows(db: Database) -> None:
    insert(
        db,
        row("model-events", "m", kind="registered.v1", at=100.0),
        row("model-events", "n", kind="registered.v1", at=200.0),
        row("model-events", "m", kind="promoted.v1", at=300.0),
        row("model-events", "m", kind="promoted.v1", at=400.0, published_at=None),
        row("alerts", "m", at=100.0),
    )

    def found(**chosen: Any) -> list[tuple[str, int, float, float]]:
        selection = Selection(("model-events",), **chosen)
        return [
            (one.type, one.events, one.first, one.last)
            for one in db.read_now(lambda c: replay.plan(c, selection)).replayed
        ]

    assert found() == [("promoted.v1", 1, 300.0, 300.0), ("registered.v1", 2, 100.0, 200.0)]
    assert found(key="m") == [("promoted.v1", 1, 300.0, 300.0), ("registered.v1", 1, 100.0, 100.0)]
    assert found(since=200.0) == [("promoted.v1", 1, 300.0, 300.0), ("registered.v1", 1, 200.0, 200.0)]
    assert found(key="none") == []
    assert db.write_now(lambda c: replay.mark(c, Selection(("model-events",), key="m"))) == 2
    assert seqs(db, outbox.c.published_at.is_(None)) == [1, 3, 4]
    assert db.write_now(lambda c: replay.mark(c, Selection(()))) == 0


def test_of_a_compacted_topic_only_the_newest_of_each_key_is_sent_again(db: Database) -> None:
    insert(
        db,
        *(row("deployments", "m"), row("deployments", "n"), row("deployments", "m"), row("access", "k")),
        *(row("deployments", "n", published_at=None, parked="too-large"), row("deployments", "o")),
        row("deployments", "o", published_at=None),
    )
    assert db.write_now(lambda c: replay.mark(c, Selection(("deployments", "access")))) == 3
    assert seqs(db, outbox.c.published_at.is_(None), outbox.c.parked.is_(None)) == [2, 3, 4, 7]


def test_a_replay_is_marked_a_portion_of_whole_entities_at_a_time(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PORTION_ROWS", 3)
    insert(db, *(row("model-events", key) for key in "abcabcabd"), row("deployments", "a"), row("deployments", "b"))
    chosen = Selection(("model-events", "deployments"))
    portions = db.read_now(lambda c: replay.plan(c, chosen)).portions
    assert [sorted(portion.rows) for portion in portions] == [[1, 4, 7], [2, 5, 8], [3, 6, 9], [10, 11]]
    insert(db, row("model-events", "b", at=YOUNG), row("deployments", "b", at=YOUNG), row("model-events", "d"))
    db.write_now(lambda c: c.execute(outbox.update().where(outbox.c.seq == 14).values(published_at=None)))
    marked = [db.write_now(lambda c, p=portion: replay.mark_portion(c, p)) for portion in portions]  # type: ignore[misc]
    assert marked == [3, 4, 3, 1], "with what was said meanwhile; an old deployment does not follow a newer one"
    assert seqs(db, outbox.c.published_at.is_(None)) == [*range(1, 11), 12, 14]
