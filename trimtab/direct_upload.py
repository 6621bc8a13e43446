"""Sends a file straight to S3, by the signed URLs that the registry gives, a few parts at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from trimtab.errors import Conflict, Unavailable
from trimtab.surface import uses_proxies

if TYPE_CHECKING:
    from trimtab.uploading import Uploader

AT_ONCE = 4
TRIES = 5
PART_SECONDS = 120.0
CHECK_SECONDS = 900.0
"""How long the registry may take to read the whole object back."""


def send_parts(uploader: "Uploader", url: str, path: Path, size: int) -> bool:
    """Send the file whose blob is at `url`; False where the registry keeps its artifacts in a folder.

    Parts that came in an earlier attempt are not sent again. Raises `Unavailable` when a part does not get through.
    """
    try:
        wanted = uploader.ask("POST", f"{url}/parts", json={"size": size})
    except Conflict:
        return False
    lock = threading.Lock()
    sent_bytes = 0

    def told(count: int) -> None:
        nonlocal sent_bytes
        with lock:
            sent_bytes += count
            uploader.tell(sent_bytes)

    def send(part: dict[str, Any]) -> dict[str, Any]:
        number, length = part["number"], part["size"]
        etag = part["etag"] or _put(uploader, http, part["url"], path, (number - 1) * wanted["part_bytes"], length)
        told(length)
        return {"number": number, "etag": etag}

    proxied = any(part["url"] and uses_proxies(part["url"]) for part in wanted["parts"])
    with httpx.Client(timeout=PART_SECONDS, trust_env=proxied) as http, ThreadPoolExecutor(AT_ONCE) as threads:
        futures = [threads.submit(send, part) for part in wanted["parts"]]
        try:
            parts = [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
    document = {"upload_id": wanted["upload_id"], "parts": parts}
    uploader.ask("POST", f"{url}/complete", json=document, timeout=CHECK_SECONDS)
    return True


def _put(uploader: "Uploader", http: httpx.Client, url: str, path: Path, offset: int, size: int) -> str:
    """PUT one part; the ETag that S3 answers."""
    problem = ""
    for last_try in (*(False,) * (TRIES - 1), True):
        try:
            answer = http.put(url, content=uploader.blocks(path, offset, size), headers={"Content-Length": str(size)})
            if answer.status_code == 200:
                return answer.headers["etag"].strip('"')
            problem = f"it answered {answer.status_code}: {answer.text[:200]}"
            if answer.status_code < 500:
                break
        except httpx.TransportError as error:
            problem = f"the connection broke ({type(error).__name__})"
        if not last_try and uploader.stop.wait(1.0):
            break
    raise Unavailable(f"S3 did not take a part of {path}: {problem}; registering once more goes on with the rest")
