"""The HTTP base: problem documents, limits, foreign hosts and origins, keys."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter
from pydantic import AfterValidator, Field, ValidationError

from schemas.base import Name, StrictDocument, Version
from schemas.events import ApiKeyGranted, Scope
from services.kernel import errors
from services.kernel.auth import fingerprint, new_key
from services.kernel.http.api import Reader, Writer, create_api, requires
from services.kernel.http.fields import sentence_of
from services.kernel.http.problems import STATUS, invalid_fields
from services.kernel.service import Service
from services.kernel.settings import Settings
from services.registry.api.blobs import Digest
from services.registry.api.insight import OtherVersion
from services.registry.api.parts import VersionRef
from services.registry.words import Words
from services.serving.runtime import RuntimeFailed

router = APIRouter()


class Body(StrictDocument):
    """A body with one field."""

    batch_size: int


def _only_even(value: int) -> int:
    if value % 2:
        raise ValueError("a number that is not even")
    return value


class Wide(StrictDocument):
    """A body with fields of many kinds."""

    some_names: tuple[str, ...]
    by_name: dict[str, int] = Field(min_length=1)
    inner: Body
    value: str | int
    even: Annotated[int, AfterValidator(_only_even)]
    needed_field: int


@router.post("/documents")
async def write_document(body: Wide) -> dict[str, str]:
    return {"value": str(body.value)}


@router.get("/things/{model_id}")
async def read_thing(model_id: Name, _: Reader) -> dict[str, str]:
    return {"model_id": model_id}


@router.post("/things")
async def write_thing(body: Body, _: Writer) -> dict[str, int]:
    return {"batch_size": body.batch_size}


@router.get("/fails/{name}")
async def fails(name: str, _: Annotated[Any, requires("read")]) -> None:
    raise getattr(errors, name)("because", fact=1)


def client_of(settings: Settings) -> tuple[Service, httpx.AsyncClient]:
    service = Service("registry", settings)
    service.app = create_api(service, [router], title="Test")
    transport = httpx.ASGITransport(app=service.app, raise_app_exceptions=False)
    return service, httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    _, client = client_of(Settings(max_body_bytes=2048))
    async with client:
        yield client


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("InvalidInput", 422),
        ("TooLarge", 413),
        ("UnsupportedMedia", 415),
        ("Unauthenticated", 401),
        ("Forbidden", 403),
        ("NotFound", 404),
        ("Conflict", 409),
        ("PreconditionFailed", 412),
        ("NotBuilt", 501),
        ("Failed", 500),
        ("Unavailable", 503),
        ("Overloaded", 503),
    ],
)
async def test_every_error_is_a_problem_document(client: httpx.AsyncClient, name: str, status: int) -> None:
    answer = await client.get(f"/fails/{name}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["detail"], body["code"]) == (status, "because", getattr(errors, name).code)
    assert ("retry-after" in answer.headers) == (status == 503)


def test_every_error_of_the_tree_has_a_status() -> None:
    kinds = [errors.TrimtabError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    named = {kind for kind in kinds if kind.__module__.startswith("services.")} - {errors.TrimtabError}
    assert RuntimeFailed in named
    assert {kind for kind in named if STATUS.keys().isdisjoint(kind.__mro__)} == set()


async def test_either_spelling_is_read_and_an_unknown_field_is_named(client: httpx.AsyncClient) -> None:
    for body in ({"batch_size": 3}, {"batchSize": 3}):
        assert (await client.post("/things", json=body)).json() == {"batch_size": 3}
    answer = await client.post("/things", json={"batchSize": 3, "batchsize": 4})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "batchsize"


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b'{"batch_size":', {}, 400, "invalid-json"),
        (b'{"batch_size": "x"}', {}, 422, "invalid-input"),
        (b" " * 3000, {}, 413, "too-large"),
        (b'{"batch_size": "\xff"}', {}, 400, "invalid-json"),
        (b'{"batch_size": 1}', {"content-type": "text/plain"}, 415, "unsupported-media-type"),
        (b"x", {"content-type": "application/octet-stream"}, 415, "unsupported-media-type"),
        (b"x", {"content-type": "application/python-pickle"}, 415, "unsupported-media-type"),
        (b"x", {"content-encoding": "gzip"}, 415, "unsupported-media-type"),
        (b"{}", {"host": "evil.example"}, 400, "unknown-host"),
        (b"{}", {"origin": "http://evil.example"}, 403, "foreign-origin"),
        (b"{}", {"origin": "http://["}, 403, "foreign-origin"),
    ],
)
async def test_a_bad_request_is_refused_with_a_reason(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await client.post("/things", content=content, headers={"content-type": "application/json"} | headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_json_that_is_nested_too_deeply_is_refused_with_a_sentence() -> None:
    _, client = client_of(Settings())
    async with client:
        answer = await client.post("/things", content=b"[" * 200_000, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-json")
    assert "nested" in answer.json()["detail"]


async def test_problems_are_told_in_the_callers_words(client: httpx.AsyncClient) -> None:
    wrong = {
        "someNames": 3,
        "byName": {},
        "inner": {"batchSize": "x", "Extra": 1},
        "value": [],
        "Why": 1,
        "even": 3,
    }
    answer = await client.post("/documents", json=wrong)
    assert {e["field"]: e["problem"] for e in answer.json()["errors"]} == {
        "some_names": "must be a list",
        "by_name": "must not be empty",
        "inner.batch_size": "Input should be a valid integer, unable to parse string as an integer",
        "inner.Extra": "is not a field of this document",
        "value": "Input should be a valid string or Input should be a valid integer",
        "even": "a number that is not even",
        "needed_field": "Field required",
        "Why": "is not a field of this document",
    }
    answer = await client.post("/documents", json={"inner": 3})
    assert {"field": "inner", "problem": "must be an object"} in answer.json()["errors"]


async def test_what_the_caller_named_is_not_renamed(client: httpx.AsyncClient) -> None:
    answer = await client.post("/documents", json={"byName": {"f1": "high", "sha256": "x", "myMetric": "y"}})
    told = {error["field"] for error in answer.json()["errors"]}
    assert {"by_name.f1", "by_name.sha256", "by_name.myMetric"} <= told


def test_identifiers_and_lengths_are_told_in_words() -> None:
    class Identified(StrictDocument):
        name: Name
        version: Version
        reference: VersionRef
        other: OtherVersion
        digest: Digest
        words: Words = Field(max_length=3)
        few: tuple[int, ...] = Field(max_length=1)

    with pytest.raises(ValidationError) as caught:
        Identified.model_validate(
            dict.fromkeys(("name", "version", "reference", "other", "digest"), "!") | {"words": "long", "few": [1, 2]}
        )
    told = {
        str(error["loc"][0]): sentence_of(error["type"], error["msg"], error["ctx"]) for error in caught.value.errors()
    }
    assert told["words"] == "must have at most 3 characters"
    assert told["few"] == "must have at most 1 items"
    assert len(told) == 7
    assert all("pattern" not in sentence for sentence in told.values())
    assert "@champion" in told["reference"]


@pytest.mark.parametrize("body", [b"", b"not json", b"\xff\xfe", b"[" * 5000])
def test_a_document_that_is_read_by_hand_and_is_no_json_is_a_400(body: bytes) -> None:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate_json(body)
    answer = invalid_fields(caught.value)
    assert answer.status_code == 400
    assert b"invalid-json" in answer.body


async def test_a_chunked_body_is_cut_at_the_limit(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * 1000

    answer = await client.post("/things", content=chunks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


async def test_browsers_are_told_what_they_may_not_do(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz")
    assert answer.headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in answer.headers


async def test_an_unknown_path_and_method_are_problems(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nowhere")).json()["code"] == "not-found"
    assert (await client.put("/things")).json()["code"] == "method-not-allowed"


async def test_readiness_names_what_is_waited_for(client: httpx.AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["waiting_for"]) == (503, ["the process is starting"])


async def test_keys_open_what_their_scopes_say() -> None:
    service, client = client_of(Settings(auth="keys", internal_key="internal-secret"))
    key = new_key()
    grant = ApiKeyGranted(
        key_id="k1", name="reader", sha256=fingerprint(key), scopes=(Scope.READ,), model_prefixes=("fraud-",)
    )
    service.access._apply("k1", grant, None)
    bearer = {"authorization": f"Bearer {key}"}
    async with client:
        assert (await client.get("/things/fraud-1")).status_code == 401
        assert (await client.get("/things/fraud-1", headers={"authorization": "Bearer wrong"})).status_code == 401
        assert (await client.get("/things/fraud-1", headers=bearer)).status_code == 200
        assert (await client.get("/things/other", headers=bearer)).status_code == 403
        assert (await client.post("/things", json={"batch_size": 1}, headers=bearer)).status_code == 403
        internal = {"authorization": "Bearer internal-secret"}
        assert (await client.post("/things", json={"batch_size": 1}, headers=internal)).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/metrics")).status_code == 401
        service.access._apply("k1", None, None)
        assert (await client.get("/things/fraud-1", headers=bearer)).status_code == 401


async def test_who_sends_a_file_the_wrong_way_is_told_the_type_of_bytes() -> None:
    service = Service("registry", Settings())
    app = create_api(service, [router], title="test", unbounded=("/blobs/",))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
        form = {"content-type": "application/x-www-form-urlencoded"}
        answer = await client.put("/blobs/1", content=b"bytes", headers=form)
        assert answer.status_code == 415
        assert "application/octet-stream" in answer.json()["detail"]
        answer = await client.put("/things", content=b"bytes", headers=form)
        assert "application/octet-stream" not in answer.json()["detail"]
