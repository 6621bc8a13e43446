"""The two clients: the same surface, readable errors, ids that can't become other routes."""

import hashlib
import inspect
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trimtab
from tests.unit.trimtab.installation import Installation, running
from tests.waiting import until_sync
from trimtab import AsyncClient, Client, calls
from trimtab.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    TrimtabError,
    Unavailable,
    Unfinished,
    error_of,
)
from trimtab.event_stream import EventReader, ServerEvent
from trimtab.local.ports import free_ports
from trimtab.surface import Surface, base_url


@pytest.fixture
def installation() -> Iterator[Installation]:
    with running() as server:
        yield server


def test_both_clients_offer_the_same_methods() -> None:
    def names(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}

    assert names(Client) == names(AsyncClient)
    assert names(Surface) < names(Client)


def test_the_package_gives_only_what_it_names() -> None:
    assert trimtab.Client is Client
    with pytest.raises(AttributeError, match="Klient"):
        _ = trimtab.Klient


@pytest.mark.parametrize("use_async", [False, True])
async def test_a_call_sends_the_document_and_the_key(installation: Installation, use_async: bool) -> None:
    installation.answer("POST", "/mlops/predict", {"prediction": "dos"})
    if use_async:
        async with AsyncClient(installation.url, api_key="tt_1") as client:
            answer = await client.predict("m", {"x": 1.5})
    else:
        with Client(installation.url, api_key="tt_1") as client:
            answer = client.predict("m", {"x": 1.5})
    assert answer == {"prediction": "dos"}
    (asked,) = installation.asked
    assert asked.document == {"model_id": "m", "input": {"x": 1.5}}
    assert asked.headers["Authorization"] == "Bearer tt_1"


def test_url_and_key_come_from_the_environment(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    installation.answer("GET", "/mlops/models", {"models": []})
    monkeypatch.setenv("TRIMTAB_URL", installation.url + "/")
    monkeypatch.setenv("TRIMTAB_API_KEY", "tt_2")
    with Client() as client:
        assert client.models() == {"models": []}
    assert installation.asked[0].headers["Authorization"] == "Bearer tt_2"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("conflict", 409, Conflict),
        ("precondition-failed", 412, PreconditionFailed),
        ("not-found", 404, NotFound),
        ("overloaded", 503, Unavailable),
        ("a-code-of-the-future", 409, Conflict),
        ("a-code-of-the-future", 418, TrimtabError),
    ],
)
def test_a_problem_document_becomes_the_error_of_its_code(code: str, status: int, kind: type[TrimtabError]) -> None:
    body = json.dumps({"title": "T", "status": status, "detail": "what to do", "code": code, "revision": 7}).encode()
    error = error_of(status, body)
    assert isinstance(error, kind)
    assert error.detail == str(error) == "what to do"
    assert error.facts["revision"] == 7
    assert error.facts["status"] == status


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"text"', b"\xff"])
def test_an_error_without_a_problem_document_still_says_something(body: bytes) -> None:
    error = error_of(503, body, "GET /mlops/models")
    assert isinstance(error, Unavailable)
    assert "GET /mlops/models was answered 503" in error.detail


def test_the_v2_protocols_errors_are_read() -> None:
    assert error_of(404, b'{"error": "no model x"}').detail == "no model x"


async def test_nobody_answering_says_how_to_start() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with Client(url) as client, pytest.raises(Unavailable, match="trimtab up"):
        client.health()
    async with AsyncClient(url) as twin:
        with pytest.raises(Unavailable, match="trimtab up"):
            await twin.health()


@pytest.mark.parametrize(("model_id", "path"), [("a/b", "a%2Fb"), ("../x", "..%2Fx"), ("a?b#c", "a%3Fb%23c")])
def test_an_id_stays_one_part_of_the_path(model_id: str, path: str) -> None:
    assert calls.model(model_id).path == f"/mlops/models/{path}"


@pytest.mark.parametrize("model_id", ["", ".", ".."])
def test_an_id_that_would_vanish_from_the_path_is_refused(model_id: str) -> None:
    with pytest.raises(InvalidInput):
        calls.model(model_id)


def test_a_folder_is_named_with_its_relative_names(tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "extra" / "notes.txt").write_bytes(b"notes")
    upload = calls.register_model(tmp_path, {"model_id": "m"}).upload
    assert upload is not None
    assert [name for name, _ in upload.files] == ["extra/notes.txt", "model.onnx"]
    [only] = calls.register_model(tmp_path / "model.onnx", {}).upload.files  # type: ignore[union-attr]
    assert only == ("model.onnx", tmp_path / "model.onnx")


@pytest.mark.parametrize("use_async", [False, True])
async def test_an_upload_goes_where_the_gateway_says_with_the_key(tmp_path: Path, use_async: bool) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    with running() as gateway, running() as registry:
        gateway.answer("POST", "/mlops/models", {}, status=307)
        gateway.locations["/mlops/models"] = f"{registry.url}/behind/mlops/models"
        registry.answer("POST", "/behind/mlops/models", {"version": "1.0.0"}, status=201)
        if use_async:
            async with AsyncClient(gateway.url, api_key="tt_3") as twin:
                found = await twin.register_model(tmp_path, model_id="m")
        else:
            with Client(gateway.url, api_key="tt_3") as client:
                found = client.register_model(tmp_path, model_id="m")
        [asked], [sent] = gateway.asked, registry.asked
    assert found == {"version": "1.0.0", "created": True}
    assert asked.body == b""
    assert sent.headers["Authorization"] == "Bearer tt_3"
    assert sent.document == {
        "metadata": {"model_id": "m"},
        "files": [{"path": "model.onnx", "size": 5, "sha256": hashlib.sha256(b"graph").hexdigest()}],
    }


def test_an_upload_is_never_sent_to_another_host(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    installation.answer("POST", "/mlops/models", {}, status=307)
    installation.locations["/mlops/models"] = "http://registry.example/mlops/models"
    with Client(installation.url) as client, pytest.raises(Unavailable, match=r"registry\.example"):
        client.register_model(tmp_path, model_id="m")


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_an_upload_of_nothing_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput):
        calls.register_model(tmp_path / name, {})


def test_a_revision_to_replace_goes_into_if_match() -> None:
    assert calls.deploy("m", "1.0.0", expected_revision=3).headers == {"If-Match": '"3"'}
    assert calls.deploy("m").body == {"model_id": "m"}


def test_waiting_for_a_job_ends_with_it_or_in_time(installation: Installation) -> None:
    states: list[str] = []
    with Client(installation.url) as client:
        installation.answer("GET", "/mlops/train/j", {"job_id": "j", "state": "failed"})
        job = client.wait_job("j", on_progress=lambda job: states.append(job["state"]))
        assert (job["state"], states) == ("failed", ["failed"])
        installation.answer("GET", "/mlops/train/j", {"job_id": "j", "state": "running"})
        with pytest.raises(Unfinished, match="still running"):
            client.wait_job("j", timeout_seconds=0)


def test_waiting_outlives_a_restart_of_the_server(installation: Installation) -> None:
    heard: list[str] = []

    def after_the_restart() -> None:
        until_sync(lambda: len(installation.asked) >= 3, 10, "three questions")
        installation.answer("GET", "/mlops/train/j", {"job_id": "j", "state": "succeeded"})

    installation.answer("GET", "/mlops/train/j", {"detail": "not yet", "code": "unavailable"}, 503)
    restart = threading.Thread(target=after_the_restart)
    restart.start()
    with Client(installation.url) as client:
        job = client.wait_job("j", poll_seconds=0.01, on_progress=lambda job: heard.append(job["state"]))
    restart.join()
    assert (job["state"], heard) == ("succeeded", ["succeeded"])


async def test_waiting_for_a_silent_server_ends_and_names_the_job() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with Client(url) as client, pytest.raises(Unavailable, match=r"job job-7 .*nothing answers"):
        client.wait_job("job-7", poll_seconds=0.01, outage_seconds=0.05)
    async with AsyncClient(url) as twin:
        with pytest.raises(Unavailable, match=r"job job-7 .*nothing answers"):
            await twin.wait_job("job-7", poll_seconds=0.01, outage_seconds=0.05)


def test_a_port_of_its_own_is_found_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIMTAB_URL", raising=False)
    assert base_url(None) == "http://127.0.0.1:3006"
    monkeypatch.setenv("TRIMTAB_SERVING_PORT", "4006")
    assert base_url(None) == "http://127.0.0.1:4006"
    monkeypatch.setenv("TRIMTAB_URL", "http://gate/")
    assert base_url(None) == "http://gate"
    monkeypatch.delenv("TRIMTAB_URL")
    monkeypatch.setenv("TRIMTAB_SERVING_PORT", "many")
    with pytest.raises(TrimtabError, match="TRIMTAB_SERVING_PORT is 'many'"):
        base_url(None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("nan")]])
def test_a_feature_that_is_no_number_is_named_and_not_sent(installation: Installation, value: Any) -> None:
    with Client(installation.url) as client:
        with pytest.raises(InvalidInput, match="'src_bytes' holds NaN"):
            client.predict("m", {"duration": 1.0, "src_bytes": value})
        with pytest.raises(InvalidInput, match="'src_bytes' holds NaN"):
            client.predict_batch("m", [{"src_bytes": 1.0}, {"src_bytes": value}])
    assert installation.asked == []


STREAM = ': hello\n\nid: t/0/1\nevent: a.v1\ndata: {"x":\ndata: 1}\n\n: still here\n\nevent: b.v1\ndata: {}\n\n'


@pytest.mark.parametrize("use_async", [False, True])
async def test_events_are_read_as_they_come(installation: Installation, use_async: bool) -> None:
    installation.answer_text("GET", "/mlops/events", STREAM, "text/event-stream")
    found: list[ServerEvent]
    if use_async:
        async with AsyncClient(installation.url) as client:
            found = [event async for event in client.events(["loop-events"], last_event_id="t/0/0")]
    else:
        with Client(installation.url) as client:
            found = list(client.events(["loop-events"], last_event_id="t/0/0"))
    assert found == [ServerEvent("t/0/1", "a.v1", {"x": 1}), ServerEvent("", "b.v1", {})]
    asked = installation.asked[0]
    assert asked.path == "/mlops/events?topics=loop-events"
    assert {name.lower(): value for name, value in asked.headers.items()}["last-event-id"] == "t/0/0"


def test_an_event_without_data_is_none() -> None:
    reader = EventReader()
    fed: list[Any] = [reader.feed(line) for line in ("event: a", "", "data: {}", "")]
    assert fed == [None, None, None, ServerEvent("", "message", {})]
