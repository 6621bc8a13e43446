"""Whatever a record holds, the inbox keeps its neighbours' effects and says what is dead, on both databases.

PostgreSQL is stricter than SQLite about text (no NUL), lengths and 64-bit numbers: what only one of them refuses would
stop a partition there for ever.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.kernel.bus.inbox import Inbox, Outcome
from services.kernel.bus.record import Record
from services.kernel.db import Database
from services.kernel.migrate import migrate
from tests.probe.app import HANDLERS, effects

GOOD = b'{"model_id": "m", "labels": [{"prediction_id": "%s", "label": "a"}]}'
BINARY = {"ce_id": b"1", "ce_source": b"/s", "ce_type": b"trimtab.labels.observed.v1", "ce_subject": b"m"}


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database of the probe."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'probe.db'}"
    else:
        url = str(request.getfixturevalue("postgres_url"))
    database = Database(url, "probe")
    migrate(database, "tests.probe.migrations")
    yield database
    database.close()


def record(
    offset: int, value: bytes | None, headers: dict[str, bytes] | None = None, key: bytes | None = b"m"
) -> Record:
    return Record("labels", 0, offset, 0, key, value, tuple((headers or {}).items()))


def handle(db: Database, *records: Record) -> Outcome:
    inbox = Inbox("probe", "/trimtab/probe", HANDLERS, db)
    return db.write_now(lambda connection: inbox.handle(connection, records))


def seen(db: Database) -> list[str]:
    return db.read_now(lambda c: list(c.execute(sa.select(effects.c.prediction_id).order_by(effects.c.seq)).scalars()))


HOSTILE = {
    "NUL in the id": record(1, GOOD % b"x", BINARY | {"ce_id": b"a\0b"}),
    "a very long id": record(1, GOOD % b"x", BINARY | {"ce_id": b"i" * 257}),
    "NUL in the source": record(1, GOOD % b"x", BINARY | {"ce_source": b"\0"}),
    "NUL in the subject": record(1, GOOD % b"x", BINARY | {"ce_subject": b"\0", "ce_revision": b"1"}),
    "a revision of 64 bits": record(1, GOOD % b"x", BINARY | {"ce_revision": b"9223372036854775808"}),
    "a revision of 5000 digits": record(1, GOOD % b"x", BINARY | {"ce_revision": b"9" * 5000}),
    "a header that is not UTF-8": record(1, GOOD % b"x", BINARY | {"ce_time": b"\xff"}),
    "no value": record(1, None, BINARY),
    "nested JSON": record(1, b"[" * 200_000),
    "a nested structured event": record(1, b"[" * 200_000, {"content-type": b"application/cloudevents+json"}),
    "an unknown type": record(1, GOOD % b"x", BINARY | {"ce_type": b"trimtab.labels.observed.v99"}),
    "a type of another topic": record(1, GOOD % b"x", BINARY | {"ce_type": b"trimtab.alert.v1"}),
    "text that a database refuses": record(1, GOOD % b"\\u0000", BINARY),
    "half a surrogate": record(1, GOOD % b"\\ud800", BINARY),
}
STRANGE_BUT_FINE = {
    "the longest id": record(1, GOOD % b"x", BINARY | {"ce_id": ("\U0001f6b0" * 256).encode()}),
    "the greatest revision": record(1, GOOD % b"x", BINARY | {"ce_revision": b"9223372036854775807"}),
    "the longest subject": record(
        1, GOOD % b"x", BINARY | {"ce_subject": "\u00fc".encode() * 200, "ce_revision": b"1"}
    ),
    "no subject and a binary key": record(
        1, GOOD % b"x", {n: v for n, v in BINARY.items() if n != "ce_subject"} | {"ce_revision": b"1"}, b"\0\xff" * 4000
    ),
    "no key": record(1, GOOD % b"x", key=None),
    "a year of ten thousand": Record("labels", 0, 1, 2**62, b"m", GOOD % b"x", ()),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_dies_alone(db: Database, name: str) -> None:
    outcome = handle(db, record(0, GOOD % b"before"), HOSTILE[name], record(2, GOOD % b"behind"))
    alive = [identifier for identifier in seen(db) if identifier in ("before", "behind")]
    assert alive == ["before", "behind"]
    assert outcome.retry is None
    if name != "text that a database refuses" or not db.is_sqlite:
        assert [failure.record.offset for failure in outcome.dead] == [1]
        assert not outcome.dead[0].retriable


@pytest.mark.parametrize("name", STRANGE_BUT_FINE)
def test_a_strange_record_has_its_effect_once(db: Database, name: str) -> None:
    for _ in range(2):
        outcome = handle(db, STRANGE_BUT_FINE[name])
        assert outcome.dead == []
    assert seen(db) == ["x"]
