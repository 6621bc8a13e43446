"""An HTTP load generator: `wrk` where it is installed, else a small one of our own in a process of its own.

python -m bench.load URL BODY_FILE CONNECTIONS SECONDS HEADERS
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from bench.cluster import cpu_seconds

JSON = {"Content-Type": "application/json"}
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Load:
    """What a server did under load. `failures` are answers other than 2xx and broken connections.

    `cpu_us` is the processor time that the server and its children took a request: it hangs least on what else the
    machine was doing.
    """

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    failures: int
    cpu_us: float = 0.0


def generator() -> str:
    """Which generator this machine has."""
    return "wrk, 1 thread" if shutil.which("wrk") else "bench.load (asyncio); `apt-get install wrk` is stronger"


def measure(
    url: str, body: bytes, pid: int, *, connections: int, seconds: int, headers: Mapping[str, str] = JSON
) -> Load:
    """POST `body` to `url`, which the process `pid` serves, over `connections` for `seconds`, after a second of warming
    up."""
    one = _wrk if shutil.which("wrk") else _own
    one(url, body, headers, connections, 1)
    before = cpu_seconds(pid)
    load = one(url, body, headers, connections, seconds)
    return replace(load, cpu_us=(cpu_seconds(pid) - before) * 1e6 / max(load.requests_per_second * seconds, 1))


def _wrk(url: str, body: bytes, headers: Mapping[str, str], connections: int, seconds: int) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        content, script = Path(folder) / "body", Path(folder) / "post.lua"
        content.write_bytes(body)
        lines = ['wrk.method = "POST"', f'wrk.body = io.open("{content}", "rb"):read("*a")']
        lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
        script.write_text("\n".join(lines) + "\n")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    failures = re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write) (\d+)", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None:
        raise RuntimeError(f"wrk printed no rate:\n{text}")
    return Load(float(rate[1]), _percentile(text, "50%"), _percentile(text, "99%"), sum(map(int, failures)))


def _percentile(text: str, name: str) -> float:
    found = re.search(rf"{name}\s+([\d.]+)(us|ms|s)", text)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")


def _own(url: str, body: bytes, headers: Mapping[str, str], connections: int, seconds: int) -> Load:
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        command = [sys.executable, "-m", "bench.load", url, file.name, str(connections), str(seconds)]
        command.append(json.dumps(dict(headers)))
        return Load(**json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


async def _run(url: str, body: bytes, headers: Mapping[str, str], connections: int, seconds: int) -> Load:
    parts = urlsplit(url)
    named = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{named}"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    latencies: list[float] = []
    failures = 0
    end = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal failures
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while (begun := time.perf_counter()) < end:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            failures += not answer.startswith(b"HTTP/1.1 2")
            latencies.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    latencies.sort()
    count = len(latencies)
    return Load(count / seconds, latencies[count // 2] * 1e3, latencies[int(count * 0.99)] * 1e3, failures)


if __name__ == "__main__":
    target, file_name, connection_count, duration, named_headers = sys.argv[1:]
    result = asyncio.run(
        _run(
            target,
            Path(file_name).read_bytes(),
            json.loads(named_headers),
            connections=int(connection_count),
            seconds=int(duration),
        )
    )
    print(json.dumps(result.__dict__))
