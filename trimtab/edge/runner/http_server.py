"""`serve`: predictions over HTTP on this machine.

`POST /predict` takes `{"input": {...}}`, or many rows as `{"inputs": [...]}`; `GET /health` says how it stands.
Predictions are also answered under the paths of Trimtab's servers (`/mlops/predict`, `/mlops/predict/batch`), so that a
client of theirs may be pointed here. Beyond loopback a key is demanded.
"""

import hmac
import json
import signal
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from typing import Any

from .errors import EdgeError, InvalidInput, Malformed, NotFound, TooLarge, Unauthenticated, Unavailable, WrongUse
from .inputs import load
from .predicting import Predictor
from .segments import Document

BODY_BYTES = 4 << 20
"""Largest body of a request."""
REQUESTS_AT_ONCE = 32
"""Requests that are answered at the same time; one more is refused with 503."""
CONNECTIONS = 256
"""Open connections; one more is closed at once."""
IDLE_SECONDS = 30.0
"""Silence after which a connection is closed."""
STOP_SECONDS = 10.0
"""How long a stopping server waits for the requests that it has begun."""

PREDICT_PATHS = ("/predict", "/mlops/predict", "/mlops/predict/batch")
_OPTIONS = {"model_id", "modelId", "version", "input", "inputs"}


class EdgeServer(ThreadingHTTPServer):
    """The server. `key`: what a caller has to show, if anything."""

    daemon_threads = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, host: str, port: int, predictor: Predictor, key: str | None = None) -> None:
        if key is None and not is_loopback(host):
            raise WrongUse(f"{host} can be reached by other machines: give a key that they must show (--api-key-file)")
        self.predictor = predictor
        self.key = key
        self.turns = threading.Semaphore(REQUESTS_AT_ONCE)
        self.hosts = {"localhost", "127.0.0.1", "[::1]", host.lower()}
        self.stopping = False
        self._connections = threading.Semaphore(CONNECTIONS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise WrongUse(f"{host}:{port} can't be listened on: {error.strerror or error}") from error

    def server_bind(self) -> None:
        """Without looking the host's name up, which may take seconds where no name server is."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection, unless there are too many."""
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no news; anything else is a defect, and told."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def run(self) -> None:
        """Answer until SIGTERM or SIGINT; what was begun is answered."""

        def stop(*_: object) -> None:
            self.stopping = True
            threading.Thread(target=self.shutdown, daemon=True).start()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        self.serve_forever(poll_interval=0.1)
        for _ in range(REQUESTS_AT_ONCE):
            self.turns.acquire(timeout=STOP_SECONDS)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: EdgeServer
    protocol_version = "HTTP/1.1"
    server_version = "trimtab-edge"
    sys_version = ""
    timeout = IDLE_SECONDS
    wbufsize = -1

    def do_GET(self) -> None:
        """`/health`; every other path is unknown."""
        if self.path != "/health":
            self._refuse(NotFound("only GET /health and POST /predict are here"))
            return
        log, counts = self.server.predictor.log, self.server.predictor.counts
        bundle = self.server.predictor.bundle
        try:
            self._check()
            log.admit()
            status, state = 200, "ready"
        except Unavailable as error:
            status, state = 503, error.detail
        except EdgeError as error:
            self._refuse(error)
            return
        self._answer(
            status,
            {
                "status": state,
                "model_id": bundle.model_id,
                "version": bundle.version,
                "incarnation": log.incarnation,
                "answered": counts.answered,
                "failed": counts.failed,
                "refused": counts.refused,
                "shed": log.shed_rows,
            },
        )

    def do_POST(self) -> None:
        """A prediction."""
        if not self.server.turns.acquire(blocking=False):
            self.close_connection = True
            self._refuse(Unavailable("too many requests at once", retry_after_seconds=1.0))
            return
        try:
            self._answer(200, self._predicted())
        except EdgeError as error:
            self._refuse(error)
        finally:
            self.server.turns.release()

    def log_message(self, format: str, *arguments: Any) -> None:
        """No line a request: the prediction log has them all."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses, in our form."""
        self.close_connection = True
        self.request_version = self.protocol_version  # also for a line that names none
        detail = f"the request can't be read: {message or self.responses[HTTPStatus(code)][0]}"
        kind = "application/problem+json"
        self._answer(code, {"status": code, "code": "malformed", "title": "Malformed", "detail": detail}, kind)

    def _predicted(self) -> Document:
        try:
            self._check()
            if self.path not in PREDICT_PATHS:
                raise NotFound("only GET /health and POST /predict are here")
            body = self._body()
        except EdgeError:
            self.close_connection = True  # the body, if there is one, was not read
            raise
        request = load(body)
        if (
            not isinstance(request, dict)
            or not set(request) <= _OPTIONS
            or ("input" in request) is ("inputs" in request)
        ):
            raise Malformed('the body must be {"input": {...}}, or {"inputs": [...]} for many rows')
        predictor, bundle = self.server.predictor, self.server.predictor.bundle
        model_id = request.get("model_id", request.get("modelId"))
        if model_id not in (None, bundle.model_id) or request.get("version") not in (None, bundle.version):
            raise NotFound(f"this is {bundle.model_id} {bundle.version}, and no other model or version")
        if "input" in request:
            return predictor.predict(request["input"])
        if not isinstance(request["inputs"], list):
            raise InvalidInput("inputs must be a list of objects")
        return {"predictions": predictor.predict_many(request["inputs"])}

    def _check(self) -> None:
        """Who asks, and whether a page of a foreign site makes a browser ask."""
        host = self.headers.get("Host", "").lower()
        name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
        if self.server.key is not None:
            given = self.headers.get("Authorization", "").partition(" ")[2]
            if not hmac.compare_digest(given.encode(), self.server.key.encode()):
                raise Unauthenticated("send `Authorization: Bearer KEY`")
        elif name not in self.server.hosts:
            raise Malformed("this server does not answer for the Host that the request names")
        if self.headers.get("Origin") is not None:
            raise Malformed("web pages may not ask here")

    def _body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") is not None or len(lengths) != 1 or not lengths[0].isdecimal():
            raise Malformed("send the body with one Content-Length")
        if not self.headers.get("Content-Type", "application/json").startswith("application/json"):
            raise Malformed("send application/json")
        if len(lengths[0]) > 12 or int(lengths[0]) > BODY_BYTES:
            raise TooLarge(f"the body is over {BODY_BYTES} bytes")
        try:
            body = self.rfile.read(int(lengths[0]))
        except TimeoutError as error:
            raise Malformed("the body did not come in time") from error
        if len(body) < int(lengths[0]):
            raise Malformed("the body ended too early")
        return body

    def _refuse(self, error: EdgeError) -> None:
        document = {
            "type": f"urn:trimtab:error:{error.code}",
            "title": (type(error).__doc__ or "").partition(".")[0],
            "status": error.status,
            "detail": error.detail,
            "code": error.code,
        }
        if error.features:
            document["features"] = error.features
        extra = {}
        if isinstance(error, Unavailable):
            extra["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
        if isinstance(error, Unauthenticated):
            extra["WWW-Authenticate"] = "Bearer"
        self._answer(error.status, document, "application/problem+json", extra)

    def _answer(
        self, status: int, document: Document, kind: str = "application/json", extra: dict[str, str] | None = None
    ) -> None:
        body = json.dumps(document, separators=(",", ":")).encode()
        self.close_connection = self.close_connection or self.server.stopping
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff"}
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in {**headers, **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:  # the client is gone; the row is in the log
            self.close_connection = True


def is_loopback(host: str) -> bool:
    """Whether nothing beyond this machine can reach `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
