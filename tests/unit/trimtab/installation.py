"""A real HTTP server that answers as a test tells it and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The JSON body."""
        return json.loads(self.body)


@dataclass
class Installation:
    """Answers `(method, path)` with (status, content type, body); 404 otherwise."""

    url: str = ""
    answers: dict[tuple[str, str], tuple[int, str, bytes]] = field(default_factory=dict)
    locations: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, method: str, path: str, document: Any, status: int = 200) -> None:
        """Answer with a JSON document; a problem document from status 400 on."""
        kind = "application/json" if status < 400 else "application/problem+json"
        self.answers[method, path] = (status, kind, json.dumps(document).encode())

    def answer_text(self, method: str, path: str, text: str, kind: str) -> None:
        """Answer with text."""
        self.answers[method, path] = (200, kind, text.encode())


@contextmanager
def running() -> Iterator[Installation]:
    """A running server on a free port."""
    installation = Installation()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            asked = Asked(self.command, self.path, dict(self.headers.items()), self.rfile.read(length))
            installation.asked.append(asked)
            missing = (404, "application/problem+json", b'{"detail": "there is no such thing", "code": "not-found"}')
            status, kind, body = installation.answers.get((asked.method, asked.path.partition("?")[0]), missing)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if location := installation.locations.get(asked.path):
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, format: str, *arguments: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    installation.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield installation
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
