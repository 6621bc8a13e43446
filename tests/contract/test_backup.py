"""Backup and restore of databases and artifacts: from each kind of database and store into each."""

import asyncio
import gzip
import json
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.kernel.artifacts import BLOBS
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.storage import open_store
from services.kernel.tables import outbox
from services.registry import audit
from services.registry.settings import RegistrySettings
from tests.contract.registry.conftest import running
from tests.contract.stores import s3_settings
from tests.golden.registry_database import DATABASES as GOLDEN
from tests.waiting import until_sync
from trimtab.backup import databases, moves, objects, record, repairing, restoring, saving, tables
from trimtab.backup.databases import SERVICES, Tell, migrations_of
from trimtab.backup.errors import BackupError, BackupUnusable, NotEmpty
from trimtab.local.data_lock import DataLock
from trimtab.local.errors import DataDirBusy
from trimtab.local.ports import free_ports
from trimtab.local.settings import LocalSettings

MODEL = "threat-classifier"
Make = Callable[[str], LocalSettings]


@contextmanager
def quiet(_: str, __: str) -> Iterator[Tell]:
    """Shows nothing."""
    yield lambda done, total: None


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes the settings of a new, empty installation on `sqlite` (and a folder) or `postgres` (and S3)."""

    def installation(kind: str) -> LocalSettings:
        name = uuid.uuid4().hex[:8]
        ports = dict(zip((f"{each}_port" for each in PORTS), free_ports(len(PORTS)), strict=True))
        values: dict[str, Any] = {"data_dir": tmp_path / name, **ports}
        if kind == "postgres":
            server = request.getfixturevalue("s3_server")
            server.client().create_bucket(Bucket=f"b{name}")
            values["database_url"] = request.getfixturevalue("new_postgres")()
            of_s3 = s3_settings(server, f"b{name}")
            values |= {each: getattr(of_s3, each) for each in of_s3.model_fields_set}
        return LocalSettings(**values)

    return installation


PORTS = ("registry", "trainer", "monitor", "tuner", "loop", "serving", "ui")


@pytest.fixture
def new_postgres(postgres_server: Any) -> Iterator[Callable[[], str]]:
    """Makes the URL of a new, empty database; all are dropped at the end."""
    import psycopg
    from psycopg import sql

    names = []
    with psycopg.connect(postgres_server.get_uri("postgres"), autocommit=True) as connection:

        def create() -> str:
            name = f"t{uuid.uuid4().hex[:10]}"
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            names.append(name)
            return str(postgres_server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://", 1)

        yield create
        for name in names:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def registry_settings(settings: LocalSettings) -> RegistrySettings:
    return RegistrySettings(**{name: getattr(settings, name) for name in settings.model_fields_set})


async def fill(settings: LocalSettings) -> None:
    """A registry with a history, and something in every table of the others."""
    settings.data_dir.mkdir()
    async for registry in running(registry_settings(settings)):
        first = await registry.version(1, "staging", "production")
        second = await registry.version(2, "staging")
        assert (await registry.deploy(version=first)).status_code == 202
        assert (await registry.deploy(version=second, canary=10)).status_code == 202
        await registry.client.post("/mlops/keys", json={"name": "ci", "scopes": ["read"]})
        registry.store.put_bytes("datasets/rows.csv", b"a,b\n1,2\n")
        registry.store.put_bytes(f"importance/{'ab' * 32}/shapley-1f.json", b"{}")  # what serving computed of a version
    for service in SERVICES[1:]:
        database = Database(settings.database_of(service), service)
        migrate(database, migrations_of(service))
        database.write_now(put_a_row_everywhere)
        database.close()
    spool = settings.data_dir / "monitor-spool"
    spool.mkdir()
    (spool / "0-0.seg").write_bytes(b"rows")


def put_a_row_everywhere(connection: sa.Connection) -> None:
    """One row in every table, with the values that are hard to carry over."""
    kinds: dict[type, Any] = {bool: True, int: 2**31 - 1, float: 0.1 + 0.2, str: "ä\n\"'{}", bytes: bytes(range(256))}
    for table in tables.in_order(connection):
        row = {
            column.name: kinds[column.type.python_type]
            if column.type.python_type is not str
            else kinds[str][: column.type.length or None]  # type: ignore[attr-defined]
            for column in table.columns
        }
        connection.execute(table.insert(), row)


def contents(settings: LocalSettings) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of every service."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for service in SERVICES:
        database = Database(settings.database_of(service), service)

        def read(connection: sa.Connection, service: str = service) -> dict[str, list[tuple[Any, ...]]]:
            return {
                f"{service}.{table.name}": sorted(tuple(row) for row in connection.execute(sa.select(table)))
                for table in tables.in_order(connection)
            }

        found |= database.read_now(read)
        database.close()
    return found


def stored(settings: LocalSettings) -> dict[str, bytes]:
    """Every object of the store."""
    store = open_store(settings)
    return {found.key: store.get_bytes(found.key) for found in store.list()}


def back_up(settings: LocalSettings, folder: Path) -> Any:
    return saving.back_up(settings, folder, quiet, without_kafka=True).document()


def restore(settings: LocalSettings, folder: Path) -> Any:
    return restoring.restore(settings, folder, quiet, without_kafka=True).document()


def parts(document: Any) -> dict[str, Any]:
    return {part["what"]: part for part in document["parts"]}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a filled installation on SQLite, `data`, and its backup, `backup`. Never changed."""
    folder = tmp_path_factory.mktemp("filled")
    settings = LocalSettings(data_dir=folder / "data")
    asyncio.run(fill(settings))
    back_up(settings, folder / "backup")
    return folder


@pytest.fixture
def saved(filled: Path, make: Make, tmp_path: Path) -> tuple[LocalSettings, Path]:
    """A filled installation on SQLite and a folder, and its backup: the test's own."""
    settings = make("sqlite")
    shutil.copytree(filled / "data", settings.data_dir)
    shutil.copytree(filled / "backup", tmp_path / "backup")
    return settings, tmp_path / "backup"


@pytest.mark.parametrize("target_kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("source_kind", ["sqlite", "postgres"])
async def test_from_each_database_and_store_into_each(
    source_kind: str, target_kind: str, make: Make, tmp_path: Path
) -> None:
    source, target = make(source_kind), make(target_kind)
    await fill(source)
    before = contents(source)
    assert all(before[name] for name in before if not name.startswith("registry.")), "every table is filled"
    told = parts(back_up(source, tmp_path / "backup"))
    assert told["artifacts"]["count"] == told["artifacts"]["new"] == len(stored(source))
    assert {what: part["count"] for what, part in told.items() if part["unit"] == "rows"} == {
        f"database {service}": sum(len(rows) for name, rows in before.items() if name.startswith(f"{service}."))
        for service in SERVICES
    }

    done = restore(target, tmp_path / "backup")
    assert done["audit_broken_at"] is None
    after = contents(target)
    waiting = [row for row in after.pop("registry.outbox") if row[7] is None]
    assert waiting, "the log will be told again to the new topics"
    before.pop("registry.outbox")
    for service in SERVICES[1:]:  # their rows of topics that are kept, or not, are told again as well
        assert len(after.pop(f"{service}.outbox")) == len(before.pop(f"{service}.outbox"))
    moved = after.pop("monitor.stream_offsets"), before.pop("monitor.stream_offsets")
    assert ([row[1] for row in moved[0]], [row[1] for row in moved[1]]) == ([0], [2**31 - 1]), "the topic is new"
    assert after == before
    assert stored(target) == stored(source)
    assert (target.data_dir / "monitor-spool" / "0-0.seg").read_bytes() == b"rows"

    async for registry in running(registry_settings(target)):
        found = (await registry.client.get("/mlops/models", params={"text": "threat"})).json()
        assert [model["model_id"] for model in found["models"]] == [MODEL]
        assert (await registry.version(3, "staging", "production")) not in {
            row[1] for row in after["registry.versions"]
        }
        assert (await registry.deploy()).status_code == 202
        assert await registry.service.db.read(audit.broken_at) is None


async def test_a_second_backup_copies_what_is_new_and_forgets_what_is_gone(
    saved: tuple[LocalSettings, Path], make: Make
) -> None:
    settings, folder = saved
    bytes_before = {path: path.stat().st_mtime_ns for path in (folder / objects.BYTES).glob("*/*")}
    assert parts(back_up(settings, folder))["artifacts"]["new"] == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / objects.BYTES).glob("*/*")} == bytes_before

    store = open_store(settings)
    store.delete("datasets/rows.csv")
    store.put_bytes("datasets/more.csv", b"more")
    async for registry in running(registry_settings(settings)):
        await registry.version(5)
    told = parts(back_up(settings, folder))["artifacts"]
    assert told["new"] == 3, "the dataset, the graph and the manifest"
    assert len(list((folder / record.RUNS).iterdir())) == 1
    target = make("sqlite")
    restore(target, folder)
    assert stored(target) == stored(settings)
    assert (
        len(list((folder / objects.BYTES).glob("*/*"))) == len({bytes(data) for data in stored(settings).values()}) + 1
    )


async def test_an_interrupted_backup_leaves_the_one_before_whole(
    saved: tuple[LocalSettings, Path], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, folder = saved
    rows = sum(map(len, contents(settings).values()))
    async for registry in running(registry_settings(settings)):
        await registry.version(5)

    def power_cut(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for name in ("write_list", "copy"):
        with monkeypatch.context() as patch:
            patch.setattr(objects, name, power_cut)
            with pytest.raises(OSError, match="space"):
                back_up(settings, folder)
        assert sum(part["count"] for part in saving.check(folder, quiet).document()["parts"][:5]) == rows
    restore(make("sqlite"), folder)
    back_up(settings, folder)
    assert len(list((folder / record.RUNS).iterdir())) == 1


@pytest.mark.parametrize(
    ("hurt", "sentence"),
    [
        (lambda folder: (folder / "backup.json").unlink(), "no backup.json in it"),
        (lambda folder: replace(folder / "backup.json", b'"rows": ', b'"rows": 1'), "backup.json is damaged"),
        (lambda folder: cut(folder / "backup.json"), "backup.json is damaged"),
        (lambda folder: cut(one(folder, "runs/*/databases/registry/versions.jsonl.gz")), "is not what was written"),
        (lambda folder: one(folder, "runs/*/databases/loop/cycles.jsonl.gz").unlink(), "cycles.jsonl.gz is missing"),
        (lambda folder: flip(one(folder, "runs/*/artifacts.jsonl.gz")), "is not what was written"),
        (lambda folder: flip(one(folder, "artifacts/*/*")), "is damaged"),
        (lambda folder: one(folder, "artifacts/*/*").unlink(), "is missing"),
        (lambda folder: reseal(folder, format=99), "a later release"),
        (lambda folder: reseal_database(folder, "9999"), "revision 9999, which this release does not know"),
    ],
)
async def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_written(
    saved: tuple[LocalSettings, Path], make: Make, hurt: Callable[[Path], None], sentence: str
) -> None:
    hurt(saved[1])
    target = make("sqlite")
    with pytest.raises(BackupUnusable, match=sentence):
        restore(target, saved[1])
    assert not target.data_dir.exists()


def one(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def replace(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def reseal(folder: Path, **changes: Any) -> None:
    made = record.read(folder)
    record.write(folder, made.model_copy(update=changes))


def reseal_database(folder: Path, revision: str) -> None:
    made = record.read(folder)
    first, *others = made.databases
    reseal(folder, databases=(first.model_copy(update={"revision": revision}), *others))


async def test_rows_that_do_not_fit_undo_everything(saved: tuple[LocalSettings, Path], make: Make) -> None:
    """Even when the damage is sealed: on either database there is all of the backup or nothing."""
    _, folder = saved
    path = one(folder, "runs/*/databases/loop/steps.jsonl.gz")
    with gzip.open(path, "at") as file:
        file.write(json.dumps([1, None, None, None, None, None]) + "\n")
    made = record.read(folder)
    loop = next(part for part in made.databases if part.service == "loop")
    steps = next(table for table in loop.tables if table.name == "steps")
    part = steps.part.model_copy(update={"sha256": record.digest_of(path), "size": path.stat().st_size})
    changed = loop.model_copy(
        update={"tables": tuple(steps.model_copy(update={"part": part}) if t is steps else t for t in loop.tables)}
    )
    reseal(folder, databases=tuple(changed if each is loop else each for each in made.databases))
    for kind in ("sqlite", "postgres"):
        target = make(kind)
        with pytest.raises(BackupUnusable, match="rows 1 to 2 of steps do not fit"):
            restore(target, folder)
        if kind == "sqlite":
            assert not list(target.data_dir.glob("*.db"))
        else:
            engine = sa.create_engine(target.database_url or "")
            with engine.connect() as connection:
                assert not set(SERVICES) & set(sa.inspect(connection).get_schema_names())
            engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_nothing_is_restored_over_anything(saved: tuple[LocalSettings, Path], make: Make, kind: str) -> None:
    target = make(kind)
    restore(target, saved[1])
    before = contents(target)
    with pytest.raises(NotEmpty, match=r"the database of registry \(.*\) holds data already .*TRIMTAB_DATA_DIR"):
        restore(target, saved[1])
    assert contents(target) == before

    other = make(kind)
    open_store(other).put_bytes("datasets/rows.csv", b"others")
    with pytest.raises(NotEmpty, match=r"datasets/rows\.csv with other bytes"):
        restore(other, saved[1])
    assert stored(other) == {"datasets/rows.csv": b"others"}

    third = make(kind)
    third.data_dir.joinpath("monitor-spool").mkdir(parents=True)
    third.data_dir.joinpath("monitor-spool", "0-0.seg").write_bytes(b"others")
    with pytest.raises(NotEmpty, match=r"0-0\.seg is there with other bytes"):
        restore(third, saved[1])


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_tables_that_are_there_and_empty_and_the_same_artifacts_are_no_hindrance(
    saved: tuple[LocalSettings, Path], make: Make, kind: str
) -> None:
    source, folder = saved
    target = make(kind)
    target.data_dir.mkdir()
    for service in ("registry", "monitor"):
        database = Database(target.database_of(service), service)
        migrate(database, migrations_of(service))
        database.close()
    store = open_store(target)
    for key, data in stored(source).items():
        if key.startswith(BLOBS):
            store.put_bytes(key, data)
    restore(target, folder)
    assert stored(target) == stored(source)
    assert contents(target)["registry.versions"] == contents(source)["registry.versions"]


async def test_what_runs_is_not_restored_into(saved: tuple[LocalSettings, Path], make: Make) -> None:
    target = make("sqlite")
    target.data_dir.mkdir()
    lock = DataLock(target.data_dir / "cluster.lock")
    lock.acquire()
    with pytest.raises(DataDirBusy, match="is in use by process"):
        restore(target, saved[1])
    lock.release()
    server = await asyncio.start_server(answer, "127.0.0.1", target.loop_port)
    with pytest.raises(BackupError, match=r"the loop service runs at .*TRIMTAB_LOOP_PORT"):
        await asyncio.to_thread(restore, target, saved[1])
    server.close()
    await server.wait_closed()
    restore(target, saved[1])


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_damaged_bytes_in_the_store_are_named_and_the_rest_is_saved(make: Make, tmp_path: Path) -> None:
    settings = make("sqlite")
    await fill(settings)
    key = next(key for key in sorted(stored(settings)) if key.startswith(BLOBS))
    flip(settings.data_dir / "artifacts" / key)
    told = back_up(settings, tmp_path / "backup")
    assert list(told["damaged"]) == [key]
    assert key in told["notes"][0]
    target = make("sqlite")
    assert list(restore(target, tmp_path / "backup")["damaged"]) == [key]
    assert set(stored(settings)) - set(stored(target)) == {key}


async def test_damage_after_the_first_backup_does_not_reach_it(saved: tuple[LocalSettings, Path], make: Make) -> None:
    settings, folder = saved
    before = stored(settings)
    key = next(key for key in sorted(before) if key.startswith(BLOBS))
    flip(settings.data_dir / "artifacts" / key)
    back_up(settings, folder)
    target = make("sqlite")
    restore(target, folder)
    assert stored(target) == before


BOTH = pytest.mark.parametrize("kind", ["sqlite", "postgres"])


@pytest.fixture
async def twice(kind: str, make: Make, tmp_path: Path) -> tuple[LocalSettings, Path]:
    """A filled installation of that kind and its backup; the test may hurt either."""
    settings = make(kind)
    await fill(settings)
    assert back_up(settings, tmp_path / "backup")["damaged"] == ()
    return settings, tmp_path / "backup"


def of_rows(settings: LocalSettings) -> dict[str, bytes]:
    """What the rows of the registry name in the store."""
    others = ("datasets/rows", "importance/")
    return {key: data for key, data in stored(settings).items() if not key.startswith(others)}


@BOTH
async def test_what_the_store_has_damaged_since_stays_as_it_was_saved(
    twice: tuple[LocalSettings, Path], make: Make, kind: str
) -> None:
    """Shorter bytes have another size than those that were saved; a manifest has no digest in its name."""
    settings, folder = twice
    store, before = open_store(settings), stored(settings)
    blob = next(key for key in sorted(before) if key.startswith(BLOBS))
    manifest = next(key for key in sorted(before) if key.endswith("/manifest.json"))
    store.put_bytes(blob, before[blob][:-5])
    store.put_bytes(manifest, before[manifest].replace(b"a", b"b", 1))
    for _ in range(2):  # the second does not take the first's word for it
        told = back_up(settings, folder)
        assert (list(told["kept"]), told["damaged"], told["missing"]) == ([blob, manifest], (), ())
        assert sum("kept as an earlier backup saved it" in note for note in told["notes"]) == 2
    assert saving.check(folder, quiet).is_well
    target = make(kind)
    restore(target, folder)
    assert stored(target) == before

    store.put_bytes(blob, before[blob])
    store.put_bytes(manifest, before[manifest])
    assert back_up(settings, folder)["kept"] == ()


@BOTH
async def test_an_empty_store_empties_no_backup(twice: tuple[LocalSettings, Path], make: Make, kind: str) -> None:
    """The wrong bucket, or a folder that is not mounted."""
    settings, folder = twice
    before = of_rows(settings)
    wrong = make(kind)
    elsewhere = settings.model_copy(update={"s3_bucket": wrong.s3_bucket})
    if kind == "sqlite":
        (settings.data_dir / "artifacts").rename(settings.data_dir / "unmounted")
    told = back_up(elsewhere, folder)
    assert set(told["kept"]) == set(before)
    target = make(kind)
    restore(target, folder)
    assert stored(target) == before


@BOTH
async def test_bytes_that_nobody_has_are_named(twice: tuple[LocalSettings, Path], kind: str) -> None:
    settings, folder = twice
    store, before = open_store(settings), stored(settings)
    blobs = [key for key in sorted(before) if key.startswith(BLOBS)]
    manifests = [key for key in sorted(before) if key.endswith("/manifest.json")]
    store.delete(blobs[0])
    store.delete(manifests[0])
    store.put_bytes(manifests[1], b"{}")
    flip(folder / objects.BYTES / blobs[0].partition("/")[2])
    kept = {key: record.digest_of(path) for key, path in places(folder, [manifests[0], manifests[1]]).items()}
    for digest in kept.values():
        (folder / objects.BYTES / digest[:2] / digest).unlink()
    told = back_up(settings, folder)
    assert (list(told["missing"]), list(told["damaged"])) == ([blobs[0], manifests[0]], [manifests[1]])
    assert told["kept"] == ()
    assert any(note.endswith(blobs[0]) and "neither in the store nor" in note for note in told["notes"])
    assert not saving.check(folder, quiet).is_well


def places(folder: Path, keys: list[str]) -> dict[str, Path]:
    """Where the backup keeps the bytes of `keys`."""
    found = {each.name: each.sha256 for each in objects.listed(folder, record.read(folder).artifacts)}
    return {key: folder / objects.BYTES / found[key][:2] / found[key] for key in keys}


@BOTH
async def test_what_was_given_up_is_forgotten_and_a_dataset_of_a_job_is_not(
    twice: tuple[LocalSettings, Path], kind: str
) -> None:
    settings, folder = twice
    store = open_store(settings)
    key = f"datasets/{sha256(b'the rows').hexdigest()}.parquet"
    store.put_bytes(key, b"the rows")
    trainer = Database(settings.database_of("trainer"), "trainer")
    document = json.dumps({"dataset": {"uri": f"artifact:{key}"}})
    trainer.write_now(lambda c: c.execute(sa.text("UPDATE jobs SET document = :it"), {"it": document}))
    trainer.close()
    back_up(settings, folder)
    registry = Database(settings.database_of("registry"), "registry")
    registry.write_now(lambda c: c.execute(sa.text("UPDATE versions SET bytes_dropped_at = 1")))
    registry.write_now(lambda c: c.execute(sa.text("DELETE FROM blob_holders")))
    registry.close()
    for each in list(store.list()):
        store.delete(each.key)
    told = back_up(settings, folder)
    assert (list(told["kept"]), told["missing"]) == ([key], ())
    assert len(list((folder / objects.BYTES).glob("*/*"))) == 2, "the dataset, and the monitor's segment"


async def test_a_database_that_is_gone_is_not_forgotten(saved: tuple[LocalSettings, Path], make: Make) -> None:
    _, folder = saved
    elsewhere = make("sqlite")
    open_store(elsewhere).put_bytes("datasets/a.csv", b"a")
    with pytest.raises(BackupError, match="holds the database of loop, monitor, registry, trainer, tuner, which this"):
        back_up(elsewhere, folder)
    restore(make("sqlite"), folder)


@BOTH
async def test_a_store_is_repaired_from_a_backup(twice: tuple[LocalSettings, Path], kind: str) -> None:
    """Exactly what a row names and the store has lost or damaged is put back; nothing else is touched."""
    settings, folder = twice
    store, before, rows = open_store(settings), stored(settings), contents(settings)
    blobs = [key for key in sorted(before) if key.startswith(BLOBS)]
    manifests = [key for key in sorted(before) if key.endswith("/manifest.json")]
    flipped = bytearray(before[blobs[0]])
    flipped[len(flipped) // 2] ^= 1
    store.put_bytes(blobs[0], bytes(flipped))
    store.delete(blobs[1])
    store.put_bytes(manifests[0], b"{}")
    store.put_bytes("datasets/rows.csv", b"written anew")
    store.put_bytes("datasets/new.csv", b"new")
    whole = {found.key: found.modified for found in store.list() if found.key not in (blobs[0], manifests[0])}

    done = repair(settings, folder)
    assert list(done["put_back"]) == [blobs[0], blobs[1], manifests[0]]
    assert done["missing"] == ()
    assert stored(settings) == {**before, "datasets/rows.csv": b"written anew", "datasets/new.csv": b"new"}
    assert {found.key: found.modified for found in store.list() if found.key in whole} == whole
    assert contents(settings) == rows
    assert repair(settings, folder)["put_back"] == ()

    store.delete(blobs[0])
    flip(folder / objects.BYTES / blobs[0].partition("/")[2])
    told = repair(settings, folder)
    assert (list(told["missing"]), told["put_back"]) == ([blobs[0]], ())
    assert not store.exists(blobs[0])


def repair(settings: LocalSettings, folder: Path) -> Any:
    return repairing.repair(settings, folder, quiet).document()


def test_without_a_registry_nothing_is_repaired(saved: tuple[LocalSettings, Path], make: Make) -> None:
    target = make("sqlite")
    with pytest.raises(BackupError, match=r"no registry's database at sqlite.*--data-dir"):
        repair(target, saved[1])
    assert not target.data_dir.exists()


async def test_files_of_before_blobs_are_found_where_they_lie(saved: tuple[LocalSettings, Path], make: Make) -> None:
    """Old versions have their files beside the manifest; what was lost of them comes back as a blob, read first."""
    settings, folder = saved
    store = open_store(settings)
    rows = [json.loads(row[8]) | {"artifact": row[7]} for row in contents(settings)["registry.versions"]]
    for row in rows:
        for file in row["files"]:
            store.put_bytes(f"{row['artifact']}/{file['path']}", store.get_bytes(f"{BLOBS}/{path_of(file)}"))
    for row in rows:
        for file in row["files"]:
            store.delete(f"{BLOBS}/{path_of(file)}")
    told = back_up(settings, folder)
    assert (told["kept"], told["missing"], told["damaged"]) == ((), (), ())
    assert repair(settings, folder)["put_back"] == ()
    store.delete(f"{rows[0]['artifact']}/{rows[0]['files'][0]['path']}")
    assert list(repair(settings, folder)["put_back"]) == [f"{BLOBS}/{path_of(rows[0]['files'][0])}"]


def path_of(file: dict[str, Any]) -> str:
    return f"{file['sha256'][:2]}/{file['sha256']}"


@pytest.mark.parametrize("moved", [1, 4, 5])
async def test_a_restore_that_was_cut_while_files_moved_is_begun_again(
    saved: tuple[LocalSettings, Path], make: Make, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    source, folder = saved
    target = make("sqlite")
    rename, remove = Path.rename, Path.unlink
    renamed: list[Path] = []

    def cut(path: Path, to: Path) -> Path:
        if path.name.endswith(".db.restoring"):
            if len(renamed) == moved:
                raise OSError(5, "the power is gone")
            renamed.append(path)
        return rename(path, to)

    def cut_at_the_end(path: Path, missing_ok: bool = False) -> None:
        if path.name == moves.LIST:
            raise OSError(5, "the power is gone")
        remove(path, missing_ok)

    for _ in range(2):  # and once more, cut at the same place
        renamed.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", cut)
            patch.setattr(Path, "unlink", cut_at_the_end)
            with pytest.raises(OSError, match="power"):
                restore(target, folder)
        assert len(list(target.data_dir.glob("*.db"))) == moved
    restore(target, folder)
    assert contents(target)["registry.versions"] == contents(source)["registry.versions"]
    assert not list(target.data_dir.glob("*restoring*"))
    with pytest.raises(NotEmpty, match="holds data already"):
        restore(target, folder)


async def test_what_was_written_since_a_restore_was_cut_is_not_lost(
    saved: tuple[LocalSettings, Path], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make("sqlite")
    remove = Path.unlink

    def cut(path: Path, missing_ok: bool = False) -> None:
        if path.name == moves.LIST:
            raise OSError(5, "the power is gone")
        remove(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", cut)
        with pytest.raises(OSError, match="power"):
            restore(target, saved[1])
    database = Database(target.database_of("loop"), "loop")
    database.write_now(lambda connection: connection.execute(outbox.insert().values(ROW | {"id": "later"})))
    with pytest.raises(NotEmpty, match=r"the database of loop .* holds data already"):  # still in SQLite's log
        restore(target, saved[1])
    database.close()
    with pytest.raises(NotEmpty, match=r"the database of loop .* holds data already"):
        restore(target, saved[1])
    assert "later" in {row[1] for row in contents(target)["loop.outbox"]}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_all_databases_are_saved_as_of_one_moment(
    kind: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one service has said and another has handled is saved on both sides, or on the first alone."""
    settings = make(kind)
    settings.data_dir.mkdir()
    migrate_all(settings)
    names = ("registry", "monitor", "loop")
    written = [Database(settings.database_of(name), name) for name in names]
    stop, handled, look = threading.Event(), threading.Event(), tables.revision_of

    def look_slowly(connection: sa.Connection) -> str | None:
        """Between two looks there is time for an event to go all the way, if it can."""
        handled.clear()
        handled.wait(0.1)
        return look(connection)

    monkeypatch.setattr(tables, "revision_of", look_slowly)

    def say_and_handle() -> None:
        while not stop.is_set():
            for database in written:
                database.write_now(lambda connection: connection.execute(outbox.insert().values(ROW)))
            handled.set()

    talking = threading.Thread(target=say_and_handle)
    talking.start()
    try:
        for _ in range(2):
            until_sync(lambda: written[0].read_now(lambda c: tables.count(c, outbox)) > 0)
            back_up(settings, tmp_path / "backup")
            saved = {part.service: part for part in record.read(tmp_path / "backup").databases}
            rows = [next(t.rows for t in saved[name].tables if t.name == "outbox") for name in names]
            assert rows[0] >= rows[1] >= rows[2] >= rows[0] - 1
    finally:
        stop.set()
        talking.join()
        for database in written:
            database.close()


ROW = {"id": "1", "topic": "alerts", "key": "m", "headers": "[]", "body": b"{}", "at": 1.0, "published_at": 1.0}


async def test_what_is_made_or_collected_during_a_backup_is_in_it(
    saved: tuple[LocalSettings, Path], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, folder = saved
    store, save, before = open_store(settings), databases.save, stored(settings)

    def meanwhile(*arguments: Any) -> Any:
        store.delete("datasets/rows.csv")
        store.put_bytes("datasets/late.csv", b"late")
        return save(*arguments)

    monkeypatch.setattr(databases, "save", meanwhile)
    back_up(settings, folder)
    target = make("sqlite")
    restore(target, folder)
    assert stored(target) == {**before, "datasets/late.csv": b"late"}


def test_an_older_database_is_saved_as_it_is_and_restored_to_todays_revision(make: Make, tmp_path: Path) -> None:
    source = make("sqlite")
    source.data_dir.mkdir()
    with closing(sqlite3.connect(source.data_dir / "registry.db")) as connection:
        connection.executescript((GOLDEN / "registry-0001.sql").read_text())
    back_up(source, tmp_path / "backup")
    assert record.read(tmp_path / "backup").databases[0].revision == "0001"
    assert sqlite_revision(source) == "0001", "saving changes nothing"
    migrate_all(source)
    expected = contents(source)
    for kind in ("sqlite", "postgres"):
        target = make(kind)
        restore(target, tmp_path / "backup")
        migrate_all(target)
        found = contents(target)
        for name in expected:
            if name != "registry.outbox":
                assert found[name] == expected[name], name


def sqlite_revision(settings: LocalSettings) -> str:
    with closing(sqlite3.connect(settings.data_dir / "registry.db")) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def migrate_all(settings: LocalSettings) -> None:
    for service in SERVICES:
        database = Database(settings.database_of(service), service)
        migrate(database, migrations_of(service))
        database.close()


def test_a_folder_with_other_things_is_left_alone(make: Make, tmp_path: Path) -> None:
    settings = make("sqlite")
    open_store(settings).put_bytes("datasets/a.csv", b"a")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").touch()
    with pytest.raises(BackupError, match="holds other things than a backup"):
        back_up(settings, tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]
    with pytest.raises(BackupError, match="no installation to save"):
        back_up(make("sqlite"), tmp_path / "new")


def test_one_backup_at_a_time(make: Make, tmp_path: Path) -> None:
    settings = make("sqlite")
    open_store(settings).put_bytes("datasets/a.csv", b"a")
    (tmp_path / "backup").mkdir()
    lock = DataLock(tmp_path / "backup" / saving.LOCK)
    lock.acquire()
    with pytest.raises(BackupError, match="another backup is being written"):
        back_up(settings, tmp_path / "backup")
    lock.release()
    back_up(settings, tmp_path / "backup")


def test_every_service_with_a_database_and_every_consumer_group_is_known() -> None:
    """A new service, or a new group, would else be left out in silence."""
    assert sorted(SERVICES) == sorted(
        path.parent.parent.name for path in Path(saving.__file__).parents[2].glob("services/*/migrations/versions")
    )
    groups = set()
    for service in SERVICES:
        app, settings = import_module(f"services.{service}.app"), import_module(f"services.{service}.settings")
        made = app.build(getattr(settings, f"{service.capitalize()}Settings")())
        groups |= {member.group for member in made.members}
        made.db.close()
    assert groups == set(saving.GROUPS)
