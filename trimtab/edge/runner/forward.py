"""`forward`: hands the log to a gateway, and deletes what it has acknowledged.

The gateway answers 200 only when Kafka has the rows. Whatever else happens, they are sent again with the same numbers,
which count once. Rows that the gateway refuses by themselves are set aside in `LOG/refused.jsonl` and announced as a
gap, so that one of them never holds up the others.
"""

import fcntl
import json
import os
import random
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .backlog import Gap, Load, acknowledge, discard_if_over, next_load
from .errors import Refused, Unavailable, WrongUse
from .http_server import is_loopback
from .segments import SENT_NAME, Document, Life, life_of, lives, read_number

PATH = "/mlops/predictions"
UPLOAD_ROWS = 500
"""Most rows of one upload."""
UPLOAD_BYTES = 2 << 20
"""Most bytes of the rows of one upload; one row may be more."""
ANSWER_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 300.0
"""Longest pause between two tries while the gateway does not answer."""
REFUSED_NAME = "refused.jsonl"
REFUSED_BYTES = 1 << 20
"""What `refused.jsonl` may take; past it refused rows are announced and not kept."""

Send = Callable[[Document], Document]
"""Uploads a document and returns the answer. Raises `Refused` and `Unavailable`."""


@dataclass
class Tally:
    """What one pass did."""

    rows: int = 0
    gaps: int = 0
    refused: int = 0


class Gateway:
    """Where the log goes. `key`: of the scope `predict`. Raises `WrongUse`: a key is not sent over plain HTTP."""

    def __init__(self, url: str, key: str | None, *, ca_file: Path | None = None, plain: bool = False) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WrongUse(f"{url!r} is not the address of a gateway, such as https://gateway.example:3006")
        if parts.scheme == "http" and not plain and not is_loopback(parts.hostname):
            raise WrongUse(f"{url} is not encrypted: use https, or say --allow-http where the network is trusted")
        self._url = url.rstrip("/") + PATH
        self._key = key
        handlers: list[Any] = [_NoRedirects]
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
            except OSError as error:
                raise WrongUse(f"{ca_file} can't be used: {error.strerror or error}") from error
            handlers.append(urllib.request.HTTPSHandler(context=context))
        if is_loopback(parts.hostname):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def send(self, document: Document) -> Document:
        """See `Send`."""
        headers = {"Content-Type": "application/json", "User-Agent": "trimtab-edge"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                found = json.loads(answer.read(ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            raise _failure(error) from error
        except (OSError, HTTPException) as error:
            raise Unavailable(f"the gateway does not answer: {error}") from error
        except ValueError as error:
            raise Unavailable(f"the gateway's answer can't be read: {error}") from error
        if not isinstance(found, dict):
            raise Unavailable("the gateway's answer is not an object: maybe something else answers there")
        return found


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key that is meant for one address is not shown to another."""

    def redirect_request(self, *_: Any) -> None:
        """No."""


class Forwarder:
    """Sends all lives of a log. `current`: the identity that the bundle's own processes write under."""

    def __init__(self, log: Path, current: Life, send: Send) -> None:
        self._log = log
        self._current = current
        self._send = send

    def pass_once(self) -> Tally:
        """Send all that there is. Raises `Refused` and `Unavailable`; what was acknowledged before stays so."""
        tally, failure = Tally(), None
        for folder in lives(self._log):
            try:
                self._life(folder, tally)
            except Refused as error:  # of this life: the others may still go
                failure = failure or error
            except OSError as error:
                raise Unavailable(f"the log can't be read or written: {error}") from error
        if failure is not None:
            raise failure
        return tally

    def _life(self, folder: Path, tally: Tally) -> None:
        life = life_of(folder)
        if life is None:  # no segment says whose it is: `status` shows it to a person
            return
        start = read_number(folder / SENT_NAME)
        while (load := next_load(folder, start, max_rows=UPLOAD_ROWS, max_bytes=UPLOAD_BYTES)) is not None:
            self._upload(life, load, tally)
            start = load.end
            acknowledge(folder, start)
        discard_if_over(folder, life, self._current)

    def watch(self, seconds: float, stopping: threading.Event, tell: Callable[[str], None]) -> None:
        """Pass after pass, `seconds` apart, until `stopping`; ever longer pauses while the gateway fails."""
        pause = seconds
        while not stopping.is_set():
            try:
                tally = self.pass_once()
                pause = seconds
                if tally.rows or tally.gaps:
                    tell(f"forwarded {tally.rows} rows" + (f"; {tally.refused} were refused" if tally.refused else ""))
            except (Refused, Unavailable) as error:
                least = error.retry_after_seconds if isinstance(error, Unavailable) else 0.0
                pause = min(max(pause * 2, least, 1.0), LONGEST_PAUSE_SECONDS)
                tell(f"{error.detail}; everything is kept, next try in about {pause:.0f} s")
            stopping.wait(pause * random.uniform(0.8, 1.2))

    def _upload(self, life: Life, load: Load, tally: Tally) -> None:
        """Send one load, in halves where the gateway refuses it as a whole."""
        try:
            self._told(life, load)
        except Refused as error:
            if error.answer_status not in (400, 413, 422) or not load.rows:
                raise
            if len(load.rows) > 1:
                for half in _halves(load):
                    self._upload(life, half, tally)
                return
            self._set_aside(life, load.rows[0], error.detail)
            gap = Gap(load.first_sequence, 1, f"refused by the gateway: {error.detail[:500]}")
            self._told(life, Load(load.first_sequence + 1, [], [*load.gaps, gap], load.refused))
            tally.refused += 1
        tally.rows += len(load.rows)
        tally.gaps += len(load.gaps)

    def _told(self, life: Life, load: Load) -> None:
        answer = self._send(
            {
                "model_id": life.model_id,
                "version": life.version,
                "manifest_digest": life.manifest_digest,
                "signature_digest": life.signature_digest,
                "replica": life.replica,
                "incarnation": life.incarnation,
                "first_sequence": load.first_sequence,
                "sent_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                "rows": [{name: value for name, value in row.items() if name != "n"} for row in load.rows],
                "gaps": [asdict(gap) for gap in load.gaps],
                "refused": dict(load.refused),
            }
        )
        if answer.get("acknowledged") != load.end:
            raise Unavailable(f"the gateway acknowledged {answer.get('acknowledged')!r} in place of {load.end}")

    def _set_aside(self, life: Life, row: Document, why: str) -> None:
        line = json.dumps({"prediction_id": f"{life.incarnation}-{row['n']}", "why": why, "row": row}) + "\n"
        path = self._log / REFUSED_NAME
        if path.exists() and path.stat().st_size + len(line) > REFUSED_BYTES:
            return
        with path.open("a") as file:
            file.write(line)


def only_forwarder(log: Path) -> int:
    """The lock of the one process that forwards `log`, until the descriptor is closed. Raises `WrongUse`."""
    try:
        fd = os.open(log / "forward.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise WrongUse(f"another process forwards {log} already") from error
    except OSError as error:
        raise WrongUse(f"the log folder {log} can't be used: {error.strerror or error}") from error
    return fd


def _halves(load: Load) -> tuple[Load, Load]:
    middle = len(load.rows) // 2
    second = Load(load.first_sequence + middle, load.rows[middle:])
    return Load(load.first_sequence, load.rows[:middle], load.gaps, load.refused), second


def _failure(error: urllib.error.HTTPError) -> Refused | Unavailable:
    """What an answer that is no success means: the gateway's reason, shortened to one line."""
    try:
        text = error.read(ANSWER_BYTES).decode("utf-8", "replace")
        document = json.loads(text)
        reason = str(document.get("detail", text)) if isinstance(document, dict) else text
    except (OSError, HTTPException, ValueError):
        reason = error.reason
    reason = " ".join(str(reason).split())[:500]
    reason = "".join(sign if sign.isprintable() else "?" for sign in reason)
    if error.code in (408, 429) or error.code >= 500:
        after = error.headers.get("Retry-After", "")
        seconds = float(after) if after.isdecimal() and len(after) < 6 else 5.0
        return Unavailable(f"the gateway answered {error.code}: {reason}", seconds)
    return Refused(f"the gateway answered {error.code}: {reason}", error.code)
