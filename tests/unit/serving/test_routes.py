"""Whose path it is."""

import pytest

from services.kernel.errors import InvalidInput, NotFound
from services.serving.openapi import merge
from services.serving.routes import owner_of


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/mlops/models", "registry"),
        ("/mlops/models/m", "registry"),
        ("/mlops/versions", "registry"),
        ("/mlops/models/m/1.0.0", "registry"),
        ("/mlops/models/m/1.0.0/promote", "registry"),
        ("/mlops/models/m/history", "registry"),
        ("/mlops/models/m/importance", "serving"),
        ("/mlops/models/m/importance/trend", "serving"),
        ("/mlops/models/m/importance/else", "registry"),
        ("/mlops/models/m/drift", "monitor"),
        ("/mlops/models/m/monitoring", "monitor"),
        ("/mlops/models/m/predictions/export", "monitor"),
        ("/mlops/labels", "monitor"),
        ("/mlops/monitor/status", "monitor"),
        ("/mlops/deploy", "registry"),
        ("/mlops/deployments/m/rollback", "registry"),
        ("/mlops/keys", "registry"),
        ("/mlops/signers/1f", "registry"),
        ("/mlops/garbage", "registry"),
        ("/mlops/policy", "registry"),
        ("/mlops/models/m/policy", "registry"),
        ("/mlops/models/m/%40champion", "registry"),
        ("/mlops/models/m/aliases/champion/history", "registry"),
        ("/mlops/train", "trainer"),
        ("/mlops/train/job-1", "trainer"),
        ("/mlops/experiments/compare", "tuner"),
        ("/mlops/loop", "loop"),
        ("/mlops/loop/m/pause", "loop"),
        ("/", "ui"),
        ("/ui/style.css", "ui"),
        ("/mlops/events", "ui"),
        ("/mlops/events/replay", "registry"),
    ],
)
def test_every_path_of_the_contract_has_its_owner(path: str, owner: str) -> None:
    assert owner_of(path) == owner


@pytest.mark.parametrize("path", ["/mlops", "/mlops/nothing", "/mlops/modelsx", "/internal/skip/a/0/0", "/healthz/x"])
def test_what_nobody_owns_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        owner_of(path)


@pytest.mark.parametrize(
    "path",
    [
        "/mlops/models/../keys",
        "/mlops/models/%2e%2e/keys",
        "/mlops/models//m",
        "/mlops/models/a%2fb",
        "/mlops/models/a%5cb",
        "/mlops/models/a%00b",
        "/mlops/models/%252e%252e",
        "/mlops/models/%ff",
        "/mlops/models/" + "a" * 10_000,
    ],
)
def test_paths_that_no_honest_client_sends(path: str) -> None:
    with pytest.raises(InvalidInput):
        owner_of(path)


def test_schemas_of_one_name_are_kept_apart() -> None:
    def document(kind: str, path: str) -> dict[str, object]:
        reference = {"$ref": "#/components/schemas/Thing"}
        content = {"application/json": {"schema": reference}}
        return {
            "paths": {
                path: {"get": {"responses": {"200": {"description": "", "content": content}}}},
                "/healthz": {"get": {}},
            },
            "components": {"schemas": {"Thing": {"type": kind}}},
        }

    merged = merge(document("object", "/own"), {"loop": document("string", "/theirs"), "tuner": None})
    answer = merged["paths"]["/theirs"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert merged["components"]["schemas"][answer.rpartition("/")[2]] == {"type": "string"}
    assert merged["components"]["schemas"]["Thing"] == {"type": "object"}
    assert {"/own", "/theirs", "/mlops/predict"} <= merged["paths"].keys()
    assert "/healthz" not in merged["paths"]
