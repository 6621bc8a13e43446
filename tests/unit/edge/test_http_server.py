"""`serve`, over real sockets."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.edge.test_predicting import ROW, logged, predictor
from trimtab.edge.runner import http_server
from trimtab.edge.runner.errors import WrongUse
from trimtab.edge.runner.http_server import EdgeServer
from trimtab.edge.runner.predicting import Predictor


@contextmanager
def serving(one: Predictor, key: str | None = None) -> Iterator[EdgeServer]:
    """The server in a thread."""
    server = EdgeServer("127.0.0.1", 0, one, key)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server(bundle_dir: Path, log_dir: Path) -> Iterator[EdgeServer]:
    """A server of the table model."""
    with serving(predictor(bundle_dir, log_dir)) as one:
        yield one


def ask(
    server: EdgeServer, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, http.client.HTTPResponse]:
    """(status, JSON, response)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method, path, content, headers or {})
    response = connection.getresponse()
    document = json.loads(response.read())
    connection.close()
    return response.status, document, response


def raw(server: EdgeServer, data: bytes) -> int:
    """The status of the answer to these very bytes; 0 when the server just closed."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(data)
        line = connection.makefile("rb").readline()
    return int(line.split()[1]) if line else 0


def test_it_answers_one_row_and_many(server: EdgeServer, log_dir: Path) -> None:
    status, answer, _ = ask(server, "POST", "/predict", {"input": ROW})
    assert (status, answer["prediction"]) == (200, "probe")
    request = {"modelId": "threats", "version": "1.0.0", "inputs": [ROW, ROW]}
    status, answers, _ = ask(server, "POST", "/mlops/predict/batch", request)
    assert status == 200
    assert [a["prediction_id"].rpartition("-")[2] for a in answers["predictions"]] == ["1", "2"]
    assert len(logged(log_dir)) == 3
    status, health, _ = ask(server, "GET", "/health")
    assert (status, health["status"], health["answered"], health["version"]) == (200, "ready", 3, "1.0.0")


def test_a_connection_serves_many_requests(server: EdgeServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/predict", json.dumps({"input": ROW}))
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["prediction"]) == (200, "probe")
        assert not response.will_close
    connection.close()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed"),
        (b"[1]", 400, "malformed"),
        (b'{"input": 1, "inputs": []}', 400, "malformed"),
        (b'{"input": {}, "explain": true}', 400, "malformed"),
        (b"[" * 100_000, 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b'{"input": {"duration": NaN}}', 422, "invalid-input"),
        (b'{"input": {"duration": 1e999}}', 422, "invalid-input"),
        (b'{"inputs": {}}', 422, "invalid-input"),
        (b'{"input": {}, "modelId": "other"}', 404, "not-found"),
        (b'{"input": {}, "modelId": ["other"]}', 404, "not-found"),
        (b'{"input": {}, "version": "2.0.0"}', 404, "not-found"),
    ],
)
def test_hostile_bodies_are_refused_and_it_goes_on(server: EdgeServer, body: bytes, status: int, code: str) -> None:
    found, problem, response = ask(server, "POST", "/predict", body)
    assert (found, problem["code"], problem["status"]) == (status, code, status)
    assert response.getheader("Content-Type") == "application/problem+json"
    assert ask(server, "POST", "/predict", {"input": ROW})[0] == 200


def test_hostile_requests_are_refused_and_it_goes_on(server: EdgeServer) -> None:
    body = json.dumps({"input": ROW}).encode()
    length = b"Content-Length: %d\r\n" % len(body)

    def post(*headers: bytes, host: bytes = b"127.0.0.1") -> bytes:
        return b"POST /predict HTTP/1.1\r\nHost: " + host + b"\r\n" + b"".join(headers) + b"\r\n" + body

    assert raw(server, post(length)) == 200
    assert raw(server, post(length, host=b"evil.example")) == 400
    assert raw(server, post(length, b"Origin: http://evil.example\r\n")) == 400
    assert raw(server, post(length, b"Content-Length: 3\r\n")) == 400
    assert raw(server, post(length, b"Transfer-Encoding: chunked\r\n")) == 400
    assert raw(server, post()) == 400
    assert raw(server, post(b"Content-Length: -1\r\n")) == 400
    assert raw(server, post(b"Content-Length: 99999999999\r\n")) == 413
    assert raw(server, post(b"Content-Length: " + b"9" * 5000 + b"\r\n")) == 413
    assert raw(server, post(length, b"Content-Type: text/plain\r\n")) == 400
    assert raw(server, b"POST /predict HTTP/1.1\r\n" + length + b"\r\n" + body) == 400
    assert raw(server, b"POST /other HTTP/1.1\r\nHost: localhost\r\n" + length + b"\r\n" + body) == 404
    assert raw(server, b"GET /predict HTTP/1.1\r\nHost: localhost\r\n\r\n") == 404
    assert raw(server, b"PUT /predict HTTP/1.1\r\nHost: localhost\r\n\r\n") == 501
    assert raw(server, b"\x00\x01\r\n\r\n") == 400
    assert raw(server, post(length, host=b"localhost:1")) == 200


def test_beyond_loopback_a_key_is_demanded(bundle_dir: Path, log_dir: Path) -> None:
    one = predictor(bundle_dir, log_dir)
    with pytest.raises(WrongUse, match="key"):
        EdgeServer("0.0.0.0", 0, one)
    with serving(one, "secret") as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer sécret"}):
            status, problem, response = ask(server, "POST", "/predict", {"input": ROW}, headers)
            assert (status, problem["code"]) == (401, "unauthenticated")
            assert response.getheader("WWW-Authenticate") == "Bearer"
            assert ask(server, "GET", "/health", headers=headers)[0] == 401
        right = {"Authorization": "Bearer secret", "Host": "gate-7.example"}
        assert ask(server, "POST", "/predict", {"input": ROW}, right)[0] == 200


def test_a_full_log_is_503_and_health_says_so(bundle_dir: Path, log_dir: Path) -> None:
    with serving(predictor(bundle_dir, log_dir, budget_bytes=64 << 10)) as server:
        while (answer := ask(server, "POST", "/predict", {"inputs": [ROW] * 50}))[0] == 200:
            pass
        assert (answer[0], answer[1]["code"], answer[2].getheader("Retry-After")) == (503, "unavailable", "5")
        while ask(server, "POST", "/predict", {"input": ROW})[0] == 200:
            pass
        assert ask(server, "POST", "/predict", {"input": ROW})[0] == 503


def test_too_much_at_once_is_refused(server: EdgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(http_server.REQUESTS_AT_ONCE):
        assert server.turns.acquire(blocking=False)
    status, _, response = ask(server, "POST", "/predict", {"input": ROW})
    assert (status, response.getheader("Retry-After")) == (503, "1")
    server.turns.release()
    assert ask(server, "POST", "/predict", {"input": ROW})[0] == 200


def test_many_at_once_get_their_own_answers(server: EdgeServer, log_dir: Path) -> None:
    answers: dict[int, Any] = {}

    def one(number: int) -> None:
        answers[number] = ask(server, "POST", "/predict", {"input": {**ROW, "duration": float(number)}})[1]

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by_id = {row["n"]: row for row in logged(log_dir)}
    assert len(by_id) == 20
    for number, answer in answers.items():
        assert by_id[int(answer["prediction_id"].rpartition("-")[2])]["input"]["duration"] == float(number)
