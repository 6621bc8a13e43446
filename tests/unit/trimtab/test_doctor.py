"""The doctor: what it finds, and that it says how to mend what is wrong."""

import os
import socket
from pathlib import Path
from typing import Any

from trimtab.local.diagnosis import Finding, diagnose
from trimtab.local.ports import free_ports
from trimtab.local.settings import LocalSettings

NAMES = ("serving", "registry", "trainer", "monitor", "tuner", "loop", "ui", "metrics", "broker", "broker_controller")


def _settings(folder: Path, **changes: Any) -> LocalSettings:
    ports = dict(zip((f"{name}_port" for name in NAMES), free_ports(len(NAMES)), strict=True))
    values: dict[str, Any] = {**ports, "data_dir": folder, "cache_dir": folder / "cache", **changes}
    return LocalSettings(**values)


async def _found(settings: LocalSettings) -> dict[str, Finding]:
    findings = await diagnose(settings)
    for finding in findings:
        assert bool(finding.remedy) == (finding.state == "wrong"), finding
    return {finding.name: finding for finding in findings}


async def test_on_a_fresh_machine_nothing_is_wrong(tmp_path: Path) -> None:
    found = await _found(_settings(tmp_path))
    assert {name for name, finding in found.items() if finding.state == "wrong"} == set()
    assert found["java"].state == "good"
    assert found["kafka jars"].state == "idle"
    assert found["services"].state == "idle"
    assert os.listdir(tmp_path) == []


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = await _found(_settings(tmp_path, registry_port=port))
    assert found["ports"].state == "wrong"
    assert str(port) in found["ports"].found
    assert "TRIMTAB_REGISTRY_PORT" in found["ports"].remedy


async def test_no_broker_where_one_was_promised(tmp_path: Path) -> None:
    found = await _found(_settings(tmp_path, kafka_bootstrap=f"127.0.0.1:{free_ports(1)[0]}"))
    assert found["broker"].state == "wrong"
    assert found["kafka jars"].state == "idle"


async def test_services_without_their_broker_and_their_folder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as serving:
        found = await _found(_settings(tmp_path, serving_port=serving.getsockname()[1]))
    assert found["broker"].state == "wrong"
    assert "--kafka" in found["broker"].remedy
    for name in ("database", "storage"):
        assert "--data-dir" in found[name].found
        assert "empty" not in found[name].found


async def test_settings_that_contradict_each_other(tmp_path: Path) -> None:
    found = await _found(_settings(tmp_path, model_storage_type="s3"))
    assert found["settings"].state == "wrong"
    assert "S3_BUCKET" in found["settings"].remedy
    assert found["storage"].state == "wrong"


async def test_a_broken_database_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"this is no database, however long it may be" * 100)
    found = await _found(_settings(tmp_path))
    assert found["database"].state == "wrong"
    assert "registry.db" in found["database"].found


async def test_half_a_jar_is_named(tmp_path: Path) -> None:
    from trimtab.local.broker_jars import jar_cache, pinned_jars

    folder = jar_cache(tmp_path / "cache")
    folder.mkdir(parents=True)
    (folder / pinned_jars()[0].filename).write_bytes(b"half")
    found = await _found(_settings(tmp_path))
    assert found["kafka jars"].state == "wrong"


async def test_offline_without_jars_is_wrong(tmp_path: Path) -> None:
    found = await _found(_settings(tmp_path, offline=True))
    assert "fetch-broker" in found["kafka jars"].remedy
