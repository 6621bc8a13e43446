"""Policies and gates: what must hold before a version moves, and that nothing gets past it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.events import CheckRecorded, JobSucceeded, ModelPromoted, PolicyChanged, VersionAnnotated
from schemas.jobs import DatasetConfig, TrainingJob
from schemas.manifest import Lineage
from services.kernel.artifacts import build_manifest, store_version, write_manifest
from services.registry.handlers import on_job_succeeded
from services.registry.registrar import Registrar
from services.registry.settings import RegistrySettings
from services.registry.tables import audit, signatures, signers, versions
from services.registry.untrusted.inspection import Limits, infer_signature, inspect_graph
from tests.contract.registry.conftest import Registry, running
from tests.graphs import classifier, save
from tests.waiting import until

MODEL = "/mlops/models/threat-classifier"
POLICY = f"{MODEL}/policy"


async def rule(registry: Registry, path: str = POLICY, **policy: Any) -> None:
    answer = await registry.client.put(path, json=policy)
    assert answer.status_code == 200, answer.text


async def gates(registry: Registry, version: str, stage: str = "production") -> dict[str, bool]:
    answer = await registry.client.get(f"{MODEL}/{version}/gates", params={"stage": stage})
    assert answer.status_code == 200, answer.text
    assert answer.json()["open"] is all(gate["met"] for gate in answer.json()["gates"])
    return {gate["gate"]: gate["met"] for gate in answer.json()["gates"]}


# the documents ----------------------------------------------------------------------------------------------------


async def test_own_policy_then_default_then_built_in(registry: Registry) -> None:
    await registry.version(0)
    built_in = await registry.client.get(POLICY)
    assert (built_in.json()["source"], built_in.json()["revision"], built_in.headers["etag"]) == ("built-in", 0, '"0"')
    assert built_in.json()["policy"]["production"]["require_changes"] is True
    await rule(registry, "/mlops/policy", production={"required_checks": ["bias"]})
    default = (await registry.client.get(POLICY)).json()
    assert (default["source"], default["policy"]["production"]["required_checks"]) == ("default", ["bias"])
    await rule(registry, former="staging")
    own = (await registry.client.get(POLICY)).json()
    assert (own["source"], own["revision"], own["policy"]["production"]["required_checks"]) == ("model", 1, [])
    given_up = (await registry.client.delete(POLICY)).json()
    assert (given_up["source"], given_up["revision"]) == ("default", 2)
    assert (await registry.client.delete("/mlops/policy")).json()["source"] == "built-in"
    events = await registry.events(PolicyChanged)
    assert [(event.model_id, event.policy_revision) for event in events] == [
        ("*", 1),
        ("threat-classifier", 1),
        ("threat-classifier", 2),
        ("*", 2),
    ]
    assert events[1].policy["former"] == "staging"


async def test_a_policy_is_replaced_at_the_known_revision_only(registry: Registry) -> None:
    await registry.version(0)
    first = await registry.client.put(POLICY, json={"former": "staging"}, headers={"If-Match": '"0"'})
    stale = await registry.client.put(POLICY, json={}, headers={"If-Match": '"0"'})
    nonsense = await registry.client.put(POLICY, json={}, headers={"If-Match": "x"})
    assert (first.status_code, stale.status_code, nonsense.status_code) == (200, 412, 422)
    assert (first.headers["etag"], stale.json()["revision"]) == ('"1"', 1)
    same = await registry.client.put(POLICY, json={"former": "staging"})
    assert same.json()["revision"] == 1
    answers = await asyncio.gather(
        *(
            registry.client.put(POLICY, json={"retention": {"keep_newest": n}}, headers={"If-Match": "1"})
            for n in range(2, 8)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5


@pytest.mark.parametrize(
    ("policy", "status", "says"),
    [
        ({"production": {"approvals": -1}}, 422, "approvals"),
        ({"production": {"fourEyes": True}}, 422, "approvals"),
        ({"production": {"approvals": 1, "fourEyes": True}}, 409, "TRIMTAB_AUTH"),
        ({"staging": {"approvals": 2}}, 409, "TRIMTAB_AUTH"),
        ({"production": {"signers": ["ada"]}}, 422, "require_signature"),
        ({"production": {"required_checks": ["a b"]}}, 422, "required_checks"),
        ({"draft": {}}, 422, "draft"),
        ({"former": "delete"}, 422, "former"),
        ({"retention": {"drop_archived_bytes_after_days": -1}}, 422, "drop_archived_bytes_after_days"),
    ],
)
async def test_policies_that_make_no_sense(registry: Registry, policy: dict[str, Any], status: int, says: str) -> None:
    await registry.version(0)
    for path in (POLICY, "/mlops/policy"):
        answer = await registry.client.put(path, json=policy)
        assert answer.status_code == status, answer.text
        assert says in answer.json()["detail"]
    assert (await registry.client.put("/mlops/models/nobody/policy", json={})).status_code == 404


# changes ----------------------------------------------------------------------------------------------------------


async def test_a_version_with_a_parent_says_what_is_different(registry: Registry) -> None:
    first = (await registry.register(changes="")).json()["version"]
    for stage in ("staging", "production"):
        assert (await registry.promote(first, stage)).status_code == 200  # there is no parent to differ from
    second = (await registry.register(graph=classifier(1), changes="")).json()["version"]
    assert await gates(registry, second, "staging") == {"changes": False}
    refused = await registry.promote(second, "staging")
    assert (refused.status_code, refused.json()["code"]) == (409, "gates-unmet")
    [sentence] = refused.json()["unmet"]
    assert f"what is different from {first}" in sentence
    assert sentence in refused.json()["detail"]
    assert (await registry.promote(second, "staging", changes="  ")).status_code == 409
    assert await registry.events(VersionAnnotated) == [], "what was refused has changed nothing"
    assert (await registry.promote(second, "staging", changes="wider layers")).status_code == 200
    assert (await registry.client.get(f"{MODEL}/{second}")).json()["changes"] == "wider layers"
    [event] = await registry.events(VersionAnnotated)
    assert (event.version, event.changes) == (second, "wider layers")
    assert await gates(registry, second) == {"changes": True}
    assert (await registry.promote(second, "production")).status_code == 200


async def test_changes_need_not_be_told_where_the_policy_says_so(registry: Registry) -> None:
    await registry.version(0, "staging", "production")
    await rule(registry, staging={"require_changes": False})
    second = (await registry.register(graph=classifier(1), changes="")).json()["version"]
    assert (await registry.promote(second, "staging")).status_code == 200
    assert (await registry.promote(second, "production")).status_code == 409


async def test_of_a_trained_version_the_registry_tells_the_changes(registry: Registry, tmp_path: Path) -> None:
    parts = registry.service.state["parts"]
    registrar = Registrar(parts.db, parts.work, parts.store, parts.settings.staging_dir, parts.inspector)
    task = asyncio.create_task(registrar.run())

    async def trained(seed: int, accuracy: float, rate: float) -> str:
        folder = tmp_path / f"job-{seed}"
        folder.mkdir()
        signature = infer_signature(inspect_graph(save(classifier(seed), folder / "model.onnx"), Limits()))
        record = build_manifest(
            folder,
            model_id="threat-classifier",
            framework="keras",
            signature=signature,
            metrics={"accuracy": accuracy},
            hyperparameters={"learning_rate": rate, "epochs": 3},
            lineage=Lineage(job_id=f"job-{seed}", dataset_digest=f"{seed}" * 64, cycle_id=f"cycle-{seed}"),
        )
        digest = write_manifest(folder, record)
        store_version(registry.store, folder, f"models/threat-classifier/job-{seed}.1")
        message = JobSucceeded(
            job_id=f"job-{seed}",
            model_id="threat-classifier",
            job=TrainingJob(model_type="threat-classifier", dataset_config=DatasetConfig(train_path="/data/t.csv")),
            artifact=f"models/threat-classifier/job-{seed}.1",
            manifest_digest=digest,
            content_digest=record.content_digest,
            dataset_digest=f"{seed}" * 64,
            metrics={"accuracy": accuracy},
        )
        await registry.service.work.run(lambda uow: on_job_succeeded(message, uow))

        def version(connection: sa.Connection) -> str | None:
            query = sa.select(versions.c.version).where(versions.c.job_id == f"job-{seed}")
            return connection.execute(query).scalar()

        return str(await until(lambda: registry.service.db.read(version), 60, "the registration"))

    try:
        first = await trained(1, 0.90, 0.01)
        for stage in ("staging", "production"):
            assert (await registry.promote(first, stage)).status_code == 200
        second = await trained(2, 0.95, 0.001)
    finally:
        task.cancel()
    assert (await registry.client.get(f"{MODEL}/{first}")).json()["changes"] == ""
    changes = (await registry.client.get(f"{MODEL}/{second}")).json()["changes"]
    for part in (f"Against {first}", "cycle-2", "learning_rate 0.01 -> 0.001", "accuracy 0.9 -> 0.95", "222222222222"):
        assert part in changes
    assert "epochs" not in changes
    for stage in ("staging", "production"):
        assert (await registry.promote(second, stage)).status_code == 200


# checks, signatures -----------------------------------------------------------------------------------------------


async def test_required_checks(registry: Registry) -> None:
    version = await registry.version(0, "staging")
    await rule(registry, production={"required_checks": ["bias", "latency"]})
    assert await gates(registry, version) == {"check bias": False, "check latency": False}
    for name, passed in (("bias", True), ("latency", True), ("latency", False), ("other", False)):
        answer = await registry.client.post(
            f"{MODEL}/{version}/checks", json={"name": name, "passed": passed, "detail": f"{name} took 3 ms"}
        )
        assert answer.status_code == 201, answer.text
    refused = await registry.promote(version, "production")
    assert refused.json()["unmet"] == ["the check latency failed: latency took 3 ms"]
    again = {"name": "latency", "passed": True}
    once = [
        await registry.client.post(f"{MODEL}/{version}/checks", json=again, headers={"Idempotency-Key": "c"})
        for _ in range(2)
    ]
    assert once[0].json() == once[1].json()
    found = (await registry.client.get(f"{MODEL}/{version}/checks")).json()
    latest = [(c["name"], c["passed"]) for c in found["latest"]]
    assert latest == [("bias", True), ("latency", True), ("other", False)]
    assert [check["passed"] for check in found["history"]] == [True, False, False, True, True]
    page = (await registry.client.get(f"{MODEL}/{version}/checks", params={"limit": 2})).json()
    rest = await registry.client.get(f"{MODEL}/{version}/checks", params={"cursor": page["next_cursor"]})
    assert page["history"] + rest.json()["history"] == found["history"]
    assert len(await registry.events(CheckRecorded)) == 5
    assert (await registry.promote(version, "production")).status_code == 200


async def test_only_signed_versions_to_production(registry: Registry) -> None:
    version = await registry.version(0, "staging")
    await rule(registry, production={"require_signature": True, "signers": ["ada"]})
    for name, revoked_at, met in (("grace", None, False), ("ada", 1.0, False), ("ada", None, True)):
        key = f"{name}-{revoked_at}"

        def sign(connection: sa.Connection, name: str = name, key: str = key, gone: float | None = revoked_at) -> None:
            row = {"key_sha256": key, "at": 0.0, "actor": "test"}
            connection.execute(signers.insert().values(**row, name=name, public_key="", revoked_at=gone))
            mine = {"model_id": "threat-classifier", "version": version, "bundle": "{}"}
            connection.execute(signatures.insert().values(**row, **mine))

        assert await gates(registry, version) == {"signature": False}
        await registry.service.db.write(sign)
        assert await gates(registry, version) == {"signature": met}
    assert (await registry.promote(version, "production")).status_code == 200


# stages -----------------------------------------------------------------------------------------------------------


async def test_the_former_version_may_stay_in_staging(registry: Registry) -> None:
    await registry.client.get("/mlops/models")
    first = await registry.version(0, "staging", "production")
    await rule(registry, former="staging")
    second = await registry.version(1, "staging", "production")
    assert (await registry.client.get(f"{MODEL}/{first}")).json()["stage"] == "staging"
    moves = (await registry.client.get(f"{MODEL}/history")).json()["history"]
    assert (moves[0]["version"], moves[0]["replaced_version"]) == (second, first)
    assert moves[1]["comment"] == f"replaced by {second}; kept in staging by the policy"
    assert (await registry.promote(first, "production")).json()["replaced_version"] == second


async def test_a_rollback_waits_for_nobody(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production")
    second = await registry.version(1, "staging", "production")
    never = await registry.version(2, "staging")
    await rule(registry, production={"approvals": 1, "required_checks": ["bias"]})
    assert (await registry.promote(never, "production")).status_code == 409
    back = await registry.promote(first, "production")
    assert (back.status_code, back.json()["replaced_version"]) == (200, second)
    facts = await registry.service.db.read(
        lambda connection: connection.execute(
            sa.select(audit.c.facts).where(audit.c.action == "model.production").order_by(audit.c.seq.desc())
        ).scalar()
    )
    assert facts is not None
    assert "the check bias has no result yet" in facts, "what was unmet is in the audit trail"


async def test_a_version_without_its_files_does_not_return(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production", "archived")
    await registry.service.db.write(
        lambda connection: connection.execute(versions.update().values(bytes_dropped_at=1.0))
    )
    for stage in ("production", "staging"):
        answer = await registry.promote(first, stage)
        assert answer.status_code == 409
        assert "register it anew" in answer.json()["detail"]


async def test_what_two_registries_promote_at_once(registry_settings: RegistrySettings) -> None:
    """Each promotion sees the one before: one version in production, each other one replaced once."""
    async for one in running(registry_settings):
        async for two in running(registry_settings):
            found = [await one.version(seed, "staging") for seed in range(6)]
            answers = await asyncio.gather(
                *((one, two)[number % 2].promote(version, "production") for number, version in enumerate(found))
            )
            assert {answer.status_code for answer in answers} == {200}
            replaced = [answer.json()["replaced_version"] for answer in answers]
            [last] = set(found) - set(replaced)
            assert sorted(map(str, replaced)) == sorted([*(set(found) - {last}), "None"])
            model = (await one.client.get(MODEL)).json()
            assert model["production_version"] == last
            assert len(await one.events(ModelPromoted)) == 12
