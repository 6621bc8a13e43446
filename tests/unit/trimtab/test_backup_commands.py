"""`trimtab backup`, `restore` and `events replay`: what they print, and how they fail."""

import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from services.kernel.artifacts import blob_key
from services.kernel.db import Database
from services.kernel.settings import Settings
from services.kernel.storage import open_store
from services.kernel.tables import outbox
from services.registry.keys import create_directly, list_all
from services.registry.tables import blob_holders
from tests.unit.trimtab.installation import running
from trimtab.backup.errors import BackupError, BackupUnusable
from trimtab.cli.root import app
from trimtab.errors import InvalidInput, Unavailable
from trimtab.local.ports import free_ports
from trimtab.local.progress import work_progress


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with a key, which is published, and an artifact."""
    settings = Settings(data_dir=tmp_path / "data")
    open_store(settings).put_bytes("datasets/rows.csv", b"a,b\n")
    create_directly(settings, "first", ["admin"])  # type: ignore[list-item]
    database = Database(settings.database_of("registry"), "registry")
    database.write_now(lambda c: c.execute(outbox.update().values(published_at=outbox.c.at)))
    database.close()
    monkeypatch.setenv("TRIMTAB_DATA_DIR", str(settings.data_dir))
    return settings.data_dir


def test_a_backup_says_what_was_saved_and_a_restore_what_came_back(data: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "backup")
    drawn = _run("backup", folder, "--without-kafka")
    assert drawn.exit_code == 0
    assert "database registry" in drawn.stdout
    assert "1 objects" in drawn.stdout
    assert [json.loads(line)["event"] for line in drawn.stderr.splitlines()][:1] == ["backup"]
    told = json.loads(_run("backup", folder, "--without-kafka", "--json").stdout)
    artifacts = next(part for part in told["parts"] if part["what"] == "artifacts")
    assert (artifacts["count"], artifacts["new"], artifacts["bytes"]) == (1, 0, 4)
    assert json.loads(_run("backup", folder, "--check", "--json").stdout)["parts"][-2]["what"] == "files"

    third = _run("restore", folder, "--data-dir", str(tmp_path / "third"), "--without-kafka")
    assert third.stdout.splitlines()[-1] == "now start it: `trimtab up`"
    other = tmp_path / "other"
    done = json.loads(_run("restore", folder, "--data-dir", str(other), "--without-kafka", "--json").stdout)
    assert (done["events_told_again"], done["audit_broken_at"]) == (1, None)
    database = Database(f"sqlite:///{other / 'registry.db'}", "registry")
    assert [key.name for key in database.read_now(list_all)] == ["first"]
    database.close()


def test_a_store_that_lost_bytes_is_status_1_until_it_is_repaired(data: Path, tmp_path: Path) -> None:
    folder, store = str(tmp_path / "backup"), open_store(Settings(data_dir=data))
    key = blob_key(sha256(b"bytes").hexdigest())
    store.put_bytes(key, b"bytes")
    database = Database(f"sqlite:///{data / 'registry.db'}", "registry")
    row = {"sha256": key.rpartition("/")[2], "artifact": "models/m/u"}
    database.write_now(lambda connection: connection.execute(blob_holders.insert().values(row)))
    database.close()
    assert _run("backup", folder, "--without-kafka").exit_code == 0
    store.delete(key)
    kept = _run("backup", folder, "--without-kafka", "--json")
    assert (kept.exit_code, json.loads(kept.stdout)["kept"]) == (1, [key])
    assert f"trimtab restore {folder} --artifacts-only" in json.loads(kept.stdout)["notes"][0]
    assert _run("backup", folder, "--check").exit_code == 0

    repaired = _run("restore", folder, "--artifacts-only")
    assert repaired.exit_code == 0
    assert f"put back: {key}" in repaired.stdout
    assert store.get_bytes(key) == b"bytes"
    assert _run("backup", folder, "--without-kafka").exit_code == 0

    store.delete(key)
    (tmp_path / "backup" / "artifacts" / key.partition("/")[2]).unlink()
    for command in (("restore", folder, "--artifacts-only"), ("backup", folder, "--without-kafka")):
        lost = _run(*command, "--json")
        assert (lost.exit_code, json.loads(lost.stdout)["missing"]) == (1, [key])
    assert _run("restore", folder, "--artifacts-only", "--renew-topics").exit_code == 2


def test_what_can_not_be_done_is_one_sentence(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BackupError, match=f"{file} is no folder: name one"):
        _run("backup", str(file), "--without-kafka")
    with pytest.raises(BackupUnusable, match=f"{file} is no folder: name the one"):
        _run("restore", str(file))
    with pytest.raises(BackupError, match="can't be used"):
        _run("backup", str(file / "below"), "--without-kafka")
    for inside in (data, data / "backups"):
        with pytest.raises(BackupError, match="lies inside the installation's own folder"):
            _run("backup", str(inside), "--without-kafka")
    assert not (data / "backups").exists()
    with pytest.raises(BackupUnusable, match=r"no backup\.json"):
        _run("restore", str(tmp_path / "nothing"))
    with pytest.raises(BackupUnusable, match=r"no backup\.json"):
        _run("backup", str(tmp_path / "nothing"), "--check")


def test_a_silent_kafka_is_asked_first(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("TRIMTAB_KAFKA_BOOTSTRAP", f"127.0.0.1:{port}")
    with pytest.raises(Unavailable, match="--without-kafka saves everything but the consumers' offsets"):
        _run("backup", str(tmp_path / "backup"))
    assert {path.name for path in (tmp_path / "backup").iterdir()} == {"backup.lock"}


def test_a_replay_sends_what_was_asked() -> None:
    replayed = {"topic": "deployments", "type": "d.v1", "events": 2, "first_at": "2026-01-31T12:00:00Z"}
    answer = {"dry_run": True, "events": 2, "replayed": [{**replayed, "last_at": "2026-02-01T12:00:00Z"}]}
    with running() as installation:
        installation.answer("POST", "/mlops/events/replay", answer, 202)
        command = ("events", "replay", "--topic", "deployments", "--model", "m", "--since", "2026-01-01T02:00:00+02:00")
        done = _run(*command, "--dry-run", "--url", installation.url)
        assert "would be sent" in done.stdout
        assert "2026-02-01 12:00:00" in done.stdout
        sent = {"topic": "deployments", "model_id": "m", "since": "2026-01-01T00:00:00+00:00", "dry_run": True}
        assert installation.asked[0].document == sent
        with pytest.raises(InvalidInput, match="--since: 'noon'"):
            _run("events", "replay", "--since", "noon", "--url", installation.url)


def test_a_replay_without_a_key_that_anybody_knows(data: Path) -> None:
    database = Database(f"sqlite:///{data / 'registry.db'}", "registry")
    done = json.loads(_run("events", "replay", "--directly", "--json").stdout)
    assert [(one["topic"], one["events"]) for one in done["replayed"]] == [("access", 1)]
    waiting = sa.select(outbox.c.topic).where(outbox.c.published_at.is_(None))
    assert database.read_now(lambda c: list(c.execute(waiting).scalars())) == ["access"]
    database.close()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    terminal, pipe = _Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        with work_progress("backup", "databases", "rows", stream) as tell:
            for done in (1, 2, 4):
                tell(done, 4)
    assert "databases" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    lines = [json.loads(line) for line in pipe.getvalue().splitlines()]
    assert lines[-1] == {"event": "backup", "what": "databases", "rows": 4, "of_rows": 4, "seconds_left": 0.0}
    first = json.loads(pipe.getvalue().splitlines()[0])
    assert first == {"event": "backup", "what": "databases", "rows": 1, "of_rows": 4}
