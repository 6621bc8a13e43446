"""compose.yaml against the Compose schema, the settings of every process, and the rules of the house.

No engine is needed; where there is one with the compose plugin, it parses the file too.
"""

import base64
import gzip
import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import AliasChoices

from services.kernel.settings import SERVICES, Settings
from tests.unit.deploy.secret_files import make

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
ALL: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = ("topics", "bucket", "first-key")
OURS = {name: service for name, service in ALL.items() if service["image"].startswith("trimtab:")}
KEPT_WRITABLE = {"kafka"}


def settings_class(name: str) -> type[Settings]:
    """The settings that the process of a compose service reads."""
    if name in ONCE:
        return Settings
    module = importlib.import_module("trimtab.ui.settings" if name == "ui" else f"services.{name}.settings")
    found: list[type[Settings]] = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Settings) and value is not Settings
    ]
    assert len(found) == 1
    return found[0]


def variables(kind: type[Settings]) -> set[str]:
    """Every environment variable that `kind` reads."""
    names = {"TRIMTAB_SECRETS_DIR"}
    for name, field in kind.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            names |= {choice for choice in alias.choices if isinstance(choice, str)}
        else:
            names.add(f"TRIMTAB_{name.upper()}")
    return names


def test_the_file_is_a_valid_compose_file() -> None:
    schema = json.loads(gzip.decompress((ROOT / "tests/assets/compose-spec.schema.json.gz").read_bytes()))
    assert [error.message for error in Draft7Validator(schema).iter_errors(COMPOSE)] == []
    broken = COMPOSE | {"services": {"x": {"imag": "typo"}}}
    assert not Draft7Validator(schema).is_valid(broken)


def test_every_process_is_there_and_the_neighbours_too() -> None:
    assert set(OURS) == {*SERVICES, *ONCE}
    assert set(ALL) - set(OURS) == {"kafka", "postgres", "s3", "redis", "prometheus", "grafana"}
    for name in SERVICES:
        module = "trimtab.ui" if name == "ui" else f"services.{name}"
        assert OURS[name]["command"] == ["python", "-m", module]
        assert importlib.util.find_spec(f"{module}.__main__") is not None


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_of_the_process(name: str) -> None:
    known = variables(settings_class(name))
    unknown = set(OURS[name]["environment"]) - known
    assert unknown == set()
    secret_files = {secret.upper() for secret in OURS[name]["secrets"]}
    assert secret_files <= {variable.upper() for variable in known}


@pytest.mark.parametrize("name", OURS)
def test_the_settings_hold_together(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make(tmp_path)
    for variable, value in OURS[name]["environment"].items():
        monkeypatch.setenv(variable, str(value))
    monkeypatch.setenv("TRIMTAB_SECRETS_DIR", str(tmp_path))
    settings = settings_class(name)()
    settings.check()
    assert settings.auth == "keys"
    assert settings.internal_key is not None
    assert settings.kafka_bootstrap == "kafka:9092"
    if name in SERVICES:
        assert settings.url_of(name) == f"http://{name}:{settings.port_of(name)}"
        assert f":{settings.port_of(name)}/readyz" in " ".join(OURS[name]["healthcheck"]["test"])


def test_only_who_needs_a_secret_gets_it() -> None:
    assert "trimtab_database_url" not in OURS["serving"]["secrets"]
    assert OURS["ui"]["secrets"] == ["trimtab_internal_key"]
    for name, service in ALL.items():
        for variable, value in (service.get("environment") or {}).items():
            assert not re.search(r"(PASSWORD|SECRET|_KEY)$", variable), f"{name}: {variable} belongs into a file"
            assert "postgresql" not in str(value)


def test_every_secret_is_made_and_every_volume_declared(tmp_path: Path) -> None:
    made = set(make(tmp_path))
    assert {name: secret["file"] for name, secret in COMPOSE["secrets"].items()} == {
        name: f"deploy/secrets/{name}" for name in made
    }
    used = {name for service in ALL.values() for name in service.get("secrets", [])}
    assert used == made
    mounted = {volume.split(":")[0] for service in ALL.values() for volume in service.get("volumes", [])}
    assert {name for name in mounted if not name.startswith("./")} == set(COMPOSE["volumes"])
    for folder in (name for name in mounted if name.startswith("./")):
        assert (ROOT / folder).is_dir()


@pytest.mark.parametrize("name", ALL)
def test_a_container_is_pinned_unprivileged_watched_and_local(name: str) -> None:
    service = ALL[name]
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-alpine)?", service["image"]), service["image"]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name not in KEPT_WRITABLE)
    assert "privileged" not in service
    if name in ONCE:
        assert service["healthcheck"] == {"disable": True}
        assert service["restart"] == "no"
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_only_four_ports_leave_the_network() -> None:
    assert sorted(port for service in ALL.values() for port in service.get("ports", [])) == [
        "127.0.0.1:19092:19092",
        "127.0.0.1:3000:3000",
        "127.0.0.1:3006:3006",
        "127.0.0.1:9090:9090",
    ]


def walk(name: str, seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Everything that `name` waits for. Fails on a circle."""
    assert name not in seen, f"{' -> '.join(seen)} -> {name}"
    for needed in ALL[name].get("depends_on", {}):
        yield needed
        yield from walk(needed, (*seen, name))


@pytest.mark.parametrize("name", SERVICES)
def test_a_process_starts_after_what_it_needs(name: str) -> None:
    needed = set(walk(name))
    assert {"kafka", "topics"} <= needed
    if name not in ("ui",):
        assert {"s3", "bucket"} <= needed
    if name not in ("serving", "ui"):
        assert {"postgres", "first-key"} <= needed
    for other, how in ALL[name]["depends_on"].items():
        expected = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert how == {"condition": expected}


def test_kafka_is_told_a_cluster_id_it_can_read() -> None:
    name = ALL["kafka"]["environment"]["CLUSTER_ID"]
    assert len(name) == 22
    assert len(base64.urlsafe_b64decode(name + "==")) == 16
    assert base64.urlsafe_b64encode(base64.urlsafe_b64decode(name + "==")).decode().rstrip("=") == name


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    make(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert make(tmp_path) == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert before["postgres_password"] in before["trimtab_database_url"]
    assert len(before["trimtab_internal_key"]) == 64
    assert tmp_path.stat().st_mode & 0o077 == 0


def test_no_secret_is_committed() -> None:
    assert (ROOT / "deploy/secrets/.gitignore").read_text().splitlines()[-2:] == ["*", "!.gitignore"]


def has_compose() -> bool:
    """Whether a docker with the compose plugin is there; parsing needs no engine."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    answer = subprocess.run([docker, "compose", "version"], capture_output=True, check=False, timeout=20)
    return answer.returncode == 0


@pytest.mark.skipif(not has_compose(), reason="no docker with the compose plugin here: it comes with the engine")
def test_docker_compose_parses_it() -> None:
    docker = shutil.which("docker")
    assert docker is not None
    answer = subprocess.run(
        [docker, "compose", "--profile", "cache", "config", "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert set(json.loads(answer.stdout)["services"]) == set(ALL)
