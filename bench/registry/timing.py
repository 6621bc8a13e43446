"""One keep-alive connection that measures what each request takes; the same for every server, as lean as it can be."""

import http.client
import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

Request = tuple[str, str, Any, dict[str, Any]]
"""Method, path, JSON document or None, query."""


@dataclass(frozen=True)
class Figures:
    """What one operation took, from the first byte sent to the last received."""

    count: int
    p50_ms: float
    p99_ms: float
    per_second: float


def figures(seconds: Sequence[float], elapsed: float) -> Figures:
    """Of `len(seconds)` operations in `elapsed` seconds."""
    ordered = sorted(seconds)
    return Figures(
        len(ordered),
        1000 * ordered[len(ordered) // 2],
        1000 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        len(ordered) / elapsed,
    )


class Connection:
    """To one server."""

    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, method: str, path: str, document: Any = None, **query: Any) -> Any:
        """The JSON of an answer. Raises `RuntimeError` for one that is not 2xx."""
        data = self.send(method, path, document, **query)
        return json.loads(data) if data else None

    def send(self, method: str, path: str, document: Any = None, **query: Any) -> bytes:
        """The body of an answer, unread: making 40,000 objects of a page of versions lets the garbage collector of this
        process look at all of them, a tenth of a second now and then. Raises `RuntimeError` for one that is not 2xx."""
        body = None if document is None else json.dumps(document).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._http.request(method, f"{path}?{urlencode(query)}" if query else path, body, headers)
        answer = self._http.getresponse()
        data = answer.read()
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"{method} {path} was answered {answer.status}: {data[:300].decode(errors='replace')}")
        return data


def measured(url: str, requests: Iterable[Request]) -> Figures:
    """The figures of `requests`, one after the other on one connection. Raises `RuntimeError` when one is refused."""
    seconds = []
    with Connection(url) as connection:
        begun = time.perf_counter()
        for method, path, document, query in requests:
            sent = time.perf_counter()
            connection.send(method, path, document, **query)
            seconds.append(time.perf_counter() - sent)
        return figures(seconds, time.perf_counter() - begun)


def beside(url: str, requests: Sequence[Request], connections: int) -> Figures:
    """`measured` by several connections at once, each with its share."""
    seconds: list[float] = []

    def share(first: int) -> None:
        with Connection(url) as connection:
            for method, path, document, query in requests[first::connections]:
                sent = time.perf_counter()
                connection.send(method, path, document, **query)
                seconds.append(time.perf_counter() - sent)

    threads = [threading.Thread(target=share, args=(first,)) for first in range(connections)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(seconds) < len(requests):
        raise RuntimeError(f"{len(requests) - len(seconds)} requests of {len(requests)} failed")
    return figures(seconds, time.perf_counter() - begun)
