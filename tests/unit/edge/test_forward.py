"""`forward`: the log goes to a gateway, and what the gateway says decides what happens to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from schemas.edge import EdgeUpload
from tests.unit.edge.conftest import IDENTITY
from tests.waiting import until_sync
from trimtab.edge.runner import forward
from trimtab.edge.runner.errors import Refused, Unavailable, WrongUse
from trimtab.edge.runner.forward import Forwarder, Gateway, only_forwarder
from trimtab.edge.runner.predlog import PredictionLog
from trimtab.edge.runner.segments import Document, lives, segments


def row(number: int) -> Document:
    line = {"time": "2026-01-31T00:00:00Z", "input": {"x": number}, "latency_us": 5, "flags": {}}
    return {**line, "prediction": 1.0, "probabilities": None}


class Taken:
    """A gateway: keeps what it accepts; `answer` decides what it says to an upload."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], Document] = {}
        self.uploads: list[EdgeUpload] = []
        self.gaps: list[tuple[int, int]] = []

    def send(self, document: Document) -> Document:
        """Accepts everything that the schema reads."""
        upload = EdgeUpload.model_validate_json(json.dumps(document))
        self.uploads.append(upload)
        for place, each in enumerate(document["rows"]):
            self.rows[upload.incarnation, upload.first_sequence + place] = each
        self.gaps += [(gap.first_sequence, gap.rows) for gap in upload.gaps]
        return {"acknowledged": upload.end}


@pytest.fixture
def log(log_dir: Path) -> PredictionLog:
    """A log with 1,200 rows."""
    made = PredictionLog(log_dir, IDENTITY)
    made.append([row(number) for number in range(1200)])
    return made


def test_everything_goes_once_and_in_bounds(log: PredictionLog, log_dir: Path) -> None:
    taken = Taken()
    tally = Forwarder(log_dir, IDENTITY, taken.send).pass_once()
    assert tally.rows == 1200
    assert [len(upload.rows) for upload in taken.uploads] == [500, 500, 200]
    assert {n for _, n in taken.rows} == set(range(1200))
    assert all(taken.rows[log.incarnation, n]["input"] == {"x": n} for n in range(1200))
    again = Taken()
    assert Forwarder(log_dir, IDENTITY, again.send).pass_once().rows == 0
    assert again.uploads == []
    log.append([row(1200)])
    assert Forwarder(log_dir, IDENTITY, again.send).pass_once().rows == 1
    assert again.uploads[0].first_sequence == 1200


def test_what_was_not_acknowledged_is_sent_again_with_its_numbers(log: PredictionLog, log_dir: Path) -> None:
    taken = Taken()

    def cut(document: Document) -> Document:
        taken.send(document)
        if len(taken.uploads) == 2:
            raise Unavailable("the connection was cut after the gateway had it")
        return {"acknowledged": taken.uploads[-1].end}

    with pytest.raises(Unavailable, match="cut"):
        Forwarder(log_dir, IDENTITY, cut).pass_once()
    before = dict(taken.rows)
    assert len(before) == 1000
    Forwarder(log_dir, IDENTITY, taken.send).pass_once()
    assert [upload.first_sequence for upload in taken.uploads] == [0, 500, 500, 1000]
    assert len(taken.rows) == 1200
    assert all(taken.rows[key] == value for key, value in before.items())


@pytest.mark.parametrize("said", [{}, {"acknowledged": 499}, {"acknowledged": "500"}, {"acknowledged": 501}])
def test_an_answer_that_acknowledges_something_else_deletes_nothing(
    log: PredictionLog, log_dir: Path, said: Document
) -> None:
    with pytest.raises(Unavailable, match="acknowledged"):
        Forwarder(log_dir, IDENTITY, lambda _: said).pass_once()
    taken = Taken()
    assert Forwarder(log_dir, IDENTITY, taken.send).pass_once().rows == 1200


def test_a_row_that_the_gateway_refuses_is_set_aside_and_the_rest_goes(log: PredictionLog, log_dir: Path) -> None:
    taken = Taken()

    def picky(document: Document) -> Document:
        if any(each["input"]["x"] in (7, 800) for each in document["rows"]):
            raise Refused("the gateway answered 422: feature 'x' is 7", 422)
        return taken.send(document)

    tally = Forwarder(log_dir, IDENTITY, picky).pass_once()
    assert (tally.refused, tally.rows) == (2, 1200)
    assert {n for _, n in taken.rows} == set(range(1200)) - {7, 800}
    assert taken.gaps == [(7, 1), (800, 1)]
    aside = [json.loads(line) for line in (log_dir / "refused.jsonl").read_text().splitlines()]
    assert [each["prediction_id"] for each in aside] == [f"{log.incarnation}-7", f"{log.incarnation}-800"]
    assert "feature 'x' is 7" in aside[0]["why"]


@pytest.mark.parametrize("status", [401, 403, 404, 409])
def test_a_refusal_of_all_keeps_all(log: PredictionLog, log_dir: Path, status: int) -> None:
    def refuse(_: Document) -> Document:
        raise Refused(f"the gateway answered {status}", status)

    with pytest.raises(Refused, match=str(status)):
        Forwarder(log_dir, IDENTITY, refuse).pass_once()
    assert not (log_dir / "refused.jsonl").exists()
    assert Forwarder(log_dir, IDENTITY, Taken().send).pass_once().rows == 1200


def test_one_refused_version_does_not_hold_up_another(log: PredictionLog, log_dir: Path) -> None:
    log.close()
    old = PredictionLog(log_dir, replace(IDENTITY, version="0.9.0", manifest_digest="c" * 64))
    old.append([row(1)])
    taken = Taken()

    def without_old(document: Document) -> Document:
        if document["version"] == "0.9.0":
            raise Refused("the gateway answered 404: no version 0.9.0", 404)
        return taken.send(document)

    with pytest.raises(Refused, match=r"0\.9\.0"):
        Forwarder(log_dir, IDENTITY, without_old).pass_once()
    assert len(taken.rows) == 1200
    old.close()
    assert Forwarder(log_dir, IDENTITY, taken.send).pass_once().rows == 1
    assert [folder.name for folder in lives(log_dir)] == [log.incarnation], "the life of another version is over"


def test_two_forwarders_of_one_log(log: PredictionLog, log_dir: Path) -> None:
    only_forwarder(log_dir)
    with pytest.raises(WrongUse, match="another process"):
        only_forwarder(log_dir)


def test_forwarding_beside_a_writer_loses_nothing(log: PredictionLog, log_dir: Path) -> None:
    taken, stopping = Taken(), threading.Event()
    forwarder = Forwarder(log_dir, IDENTITY, taken.send)
    thread = threading.Thread(target=forwarder.watch, args=(0.001, stopping, lambda _: None))
    thread.start()
    for number in range(1200, 3000):
        log.append([row(number)])
    until_sync(lambda: len(taken.rows) == 3000, 20, "all rows have come")
    stopping.set()
    thread.join()
    assert taken.gaps == []
    assert sorted(n for _, n in taken.rows) == list(range(3000))
    assert len(segments(lives(log_dir)[0])) == 1


def test_watching_goes_on_after_failures_with_longer_pauses(log: PredictionLog, log_dir: Path) -> None:
    told: list[str] = []
    stopping = threading.Event()
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            if len(waits) == 4:
                stopping.set()
                self.set()
            return self.is_set()

    def down(_: Document) -> Document:
        raise Unavailable("the gateway does not answer", retry_after_seconds=20)

    Forwarder(log_dir, IDENTITY, down).watch(1.0, Stop(), told.append)
    assert len(told) == 4
    assert all("everything is kept" in text for text in told)
    assert [least * 0.8 <= wait <= least * 1.2 for wait, least in zip(waits, (20, 40, 80, 160), strict=True)] == [
        True,
        True,
        True,
        True,
    ]


class _Answers(BaseHTTPRequestHandler):
    """Says what the test wants."""

    said: tuple[int, dict[str, str], bytes] = (200, {}, b"{}")
    heard: list[dict[str, Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append({"path": self.path, "key": self.headers.get("Authorization"), "body": json.loads(body)})
        status, headers, content = self.said
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def answering(status: int, content: bytes, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[Any]]]:
    """(the address of a server that says this, what it heard)."""
    heard: list[dict[str, Any]] = []
    handler = type("Answers", (_Answers,), {"said": (status, headers or {}, content), "heard": heard})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_gateways_words_over_http() -> None:
    with answering(200, b'{"acknowledged": 3}') as (url, heard):
        assert Gateway(url, "tt_key").send({"rows": []}) == {"acknowledged": 3}
    assert heard == [{"path": "/mlops/predictions", "key": "Bearer tt_key", "body": {"rows": []}}]
    problem = b'{"detail": "feature \'x\' \\u001b[31mis wrong", "code": "invalid-input"}'
    with answering(422, problem) as (url, _), pytest.raises(Refused, match="422: feature 'x'") as caught:
        Gateway(url, None).send({})
    assert caught.value.answer_status == 422
    assert caught.value.detail.isprintable()
    with answering(503, b"", {"Retry-After": "17"}) as (url, _), pytest.raises(Unavailable) as later:
        Gateway(url, None).send({})
    assert later.value.retry_after_seconds == 17
    for status, content in ((200, b"<html>"), (200, b"[]"), (500, b"{"), (429, b"{}"), (307, b"")):
        elsewhere = {"Location": "http://127.0.0.1:1/"}
        with answering(status, content, elsewhere) as (url, _), pytest.raises((Unavailable, Refused)):
            Gateway(url, "tt_key").send({})
    with pytest.raises(Unavailable, match="does not answer"):
        Gateway(url, None).send({})


def test_a_key_does_not_travel_in_the_open(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="not encrypted"):
        Gateway("http://gateway.example:3006", "tt_key")
    assert Gateway("http://gateway.example:3006", "tt_key", plain=True)
    assert Gateway("http://127.0.0.1:3006", "tt_key")
    assert Gateway("https://gateway.example:3006", "tt_key")
    for wrong in ("gateway:3006", "ftp://gateway", "https://", "file:///etc/passwd"):
        with pytest.raises(WrongUse, match="not the address"):
            Gateway(wrong, None)
    with pytest.raises(WrongUse, match="can't be used"):
        Gateway("https://gateway.example", None, ca_file=tmp_path / "none.pem")


def test_set_aside_rows_are_bounded(log: PredictionLog, log_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "REFUSED_BYTES", 1000)

    def refuse(document: Document) -> Document:
        if document["rows"]:
            raise Refused("no", 422)
        return {"acknowledged": document["first_sequence"]}

    assert Forwarder(log_dir, IDENTITY, refuse).pass_once().refused == 1200
    assert (log_dir / "refused.jsonl").stat().st_size <= 1000
