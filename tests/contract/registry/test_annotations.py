"""What is written about a version after its registration."""

import json
from types import SimpleNamespace
from typing import Any

import msgspec
import sqlalchemy as sa

from schemas.events import VersionAnnotated
from services.registry import audit, versions
from services.registry.api.documents import VersionDocument, version_document, version_fields
from services.registry.tables import audit as trail
from tests.contract.registry.conftest import Registry


async def test_words_change_and_the_manifest_stays(registry: Registry) -> None:
    answer = await registry.register("alpha", description="first", changes="none", tags={"team": "red", "old": "x"})
    version = answer.json()["version"]
    path = f"/mlops/models/alpha/{version}"
    manifest = (await registry.client.get(f"{path}/manifest")).content
    said = {"description": "second", "tags": {"team": "blue", "old": None, "new": "y"}}
    written = await registry.client.patch(path, json=said)
    assert written.status_code == 200, written.text
    document = written.json()
    assert document["description"] == "second"
    assert document["changes"] == "none"
    assert document["tags"] == {"team": "blue", "new": "y"}
    assert document["manifest_digest"] == answer.json()["manifest_digest"]
    assert (await registry.client.get(path)).json() == document
    assert (await registry.client.get(f"{path}/manifest")).content == manifest
    (event,) = await registry.events(VersionAnnotated)
    assert (event.description, event.changes, event.tags) == ("second", "none", {"team": "blue", "new": "y"})
    rows = await registry.service.db.read(
        lambda connection: connection.execute(sa.select(trail.c.facts).where(trail.c.action == "model.annotated")).all()
    )
    facts = [json.loads(row.facts) for row in rows]
    assert facts == [
        {
            "before": {"description": "first", "tags": {"old": "x", "team": "red"}},
            "after": {"description": "second", "tags": {"new": "y", "team": "blue"}},
        }
    ]
    assert await registry.service.db.read(audit.broken_at) is None


async def test_saying_the_same_again_changes_nothing(registry: Registry) -> None:
    version = (await registry.register("alpha", description="first", tags={"a": "b"})).json()["version"]
    for said in ({}, {"description": "first"}, {"tags": {"a": "b", "none": None}}):
        assert (await registry.client.patch(f"/mlops/models/alpha/{version}", json=said)).status_code == 200
    assert await registry.events(VersionAnnotated) == []


async def test_if_match_refuses_what_was_read_too_early(registry: Registry) -> None:
    version = (await registry.register("alpha")).json()["version"]
    path = f"/mlops/models/alpha/{version}"
    first = (await registry.client.get(path)).headers["ETag"]
    done = await registry.client.patch(path, json={"description": "mine"}, headers={"If-Match": first})
    assert done.status_code == 200, done.text
    late = await registry.client.patch(path, json={"description": "other"}, headers={"If-Match": first})
    assert (late.status_code, late.json()["code"]) == (412, "precondition-failed")
    newest = done.headers["ETag"]
    assert newest == (await registry.client.get(path)).headers["ETag"] != first
    assert (await registry.client.patch(path, json={}, headers={"If-Match": newest})).status_code == 200
    assert (await registry.client.patch(path, json={"changes": "x"}, headers={"If-Match": "*"})).status_code == 200


async def test_what_cannot_be_said_is_refused_with_a_sentence(registry: Registry) -> None:
    version = (await registry.register("alpha", tags={f"t{number}": "" for number in range(100)})).json()["version"]
    path = f"/mlops/models/alpha/{version}"
    for said in (
        {"tags": {"x" * 257: "y"}},
        {"tags": {"": "y"}},
        {"tags": {" x": "y"}},
        {"tags": {"a\0": "y"}},
        {"tags": {"a": "y\0"}},
        {"tags": {"a": "y" * 5001}},
        {"tags": {"one more": "y"}},
        {"description": "x" * 20_001},
        {"description": "a\0b"},
        {"version": "2.0.0"},
    ):
        refused = await registry.client.patch(path, json=said)
        assert refused.status_code == 422, (said, refused.text)
        assert refused.json()["detail"]
    assert (await registry.client.patch(path, json={"tags": {"one more": "y", "t0": None}})).status_code == 200
    assert (await registry.client.patch("/mlops/models/alpha/9.9.9", json={})).status_code == 404


async def test_a_registration_is_bounded_in_the_same_way(registry: Registry) -> None:
    for metadata in (
        {"metrics": {"x" * 257: 1.0}},
        {"metrics": {"": 1.0}},
        {"metrics": {"a\0": 1.0}},
        {"tags": {"x" * 257: "1"}},
        {"tags": {"x": "y\0"}},
        {"tags": {f"t{number}": "" for number in range(101)}},
        {"metrics": {f"m{number}": 0.0 for number in range(1001)}},
        {"description": "a\0b"},
        {"changes": "a\0b"},
        {"lineage": {"dataset_digest": "d" * 257}},
        {"lineage": {"dataset_digest": "\0"}},
    ):
        refused = await registry.register("alpha", **metadata)
        assert refused.status_code == 422, (metadata, refused.text)


async def test_a_promotion_that_says_what_changed_is_an_annotation(registry: Registry) -> None:
    version = (await registry.register("alpha")).json()["version"]
    moved = await registry.client.post(
        f"/mlops/models/alpha/{version}/promote", json={"stage": "staging", "changes": "larger"}
    )
    assert moved.status_code == 200, moved.text
    assert (await registry.client.get(f"/mlops/models/alpha/{version}")).json()["changes"] == "larger"
    found = (await registry.client.get("/mlops/versions", params={"text": "larger"})).json()["versions"]
    assert [each["version"] for each in found] == [version]


async def test_a_version_is_read_without_checking_it_again_and_is_the_same(registry: Registry) -> None:
    """The document that the routes put together is what the model of the answer makes of the row."""
    answer = await registry.register(
        "alpha",
        metrics={"f1": 0.5},
        hyperparameters={"a": {"b": [1, None]}},
        tags={"x": "ö\u2028"},
        lineage={"dataset_digest": "d", "trial": 3},
        created_at="2026-01-31T12:00:00.5Z",
    )
    document = answer.json()
    path = f"/mlops/models/alpha/{document['version']}"
    assert (await registry.client.get(path)).json() == document
    assert (await registry.client.get("/mlops/models/alpha")).json()["versions"] == [document]
    row = await registry.service.db.read(lambda c: versions.find_version(c, "alpha", document["version"]))
    assert list(version_fields(row)) == list(VersionDocument.model_fields)
    manifest = json.loads(row.manifest)
    said = {"framework", "files", "signature", "created_at", "content_digest", "model_id"}
    for text in (
        row.manifest,
        json.dumps(manifest, indent=1),
        json.dumps({name: manifest[name] for name in said}),  # what an older manifest says, at least
        json.dumps(manifest | {"metrics": {"f1": None}, "of_later": [1], "files": manifest["files"][::-1]}),
    ):
        other: Any = SimpleNamespace(**(dict(row._mapping) | {"manifest": text}))
        shown = json.loads(msgspec.json.encode(version_fields(other)))
        assert shown == json.loads(version_document(other).model_dump_json())
