"""Supervised service processes, with a real program as the service."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from tests.waiting import until, until_sync
from trimtab.local.bounded_log import BoundedLog
from trimtab.local.errors import ServiceStopped
from trimtab.local.events import ClusterEvent
from trimtab.local.ports import LOOPBACK, free_ports
from trimtab.local.processes import ServiceProcess, ServiceSpec, start_all, stop_all

PROGRAM = '''
"""Answers 200 to everything; has a child; in mode `stubborn` it ignores SIGTERM, in mode `broken` it fails."""
import http.server, os, signal, subprocess, sys
if os.environ["MODE"] == "broken":
    sys.exit("the database is on fire")
if os.environ["MODE"] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("child", child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
'''


def child_in(log: Path) -> int:
    """The process id of the service's child, from what it printed."""
    found = re.search(r"child (\d+)", log.read_text())
    assert found is not None
    return int(found[1])


class Room:
    """Makes services of the program above and hears what they tell."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.events: list[ClusterEvent] = []
        self.services: list[ServiceProcess] = []
        (directory / "tiny_service.py").write_text(PROGRAM)

    def service(self, name: str, mode: str = "plain") -> ServiceProcess:
        port = free_ports(1)[0]
        environment = {**os.environ, "PYTHONPATH": str(self.directory), "MODE": mode, "PORT": str(port)}
        spec = ServiceSpec(name, "tiny_service", f"http://{LOOPBACK}:{port}/readyz")
        service = ServiceProcess(
            spec, log_dir=self.directory / "logs", environment=environment, tell=self.events.append
        )
        self.services.append(service)
        return service

    def told(self, kind: str) -> list[str]:
        return [event.part for event in self.events if event.kind == kind]

    def child_of(self, name: str) -> int:
        return child_in(self.directory / "logs" / f"{name}.log")


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    room = Room(tmp_path)
    yield room
    await stop_all(room.services, 5)


def gone(pid: int | None) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        return pid is None or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_services_start_in_order_and_stop_in_reverse(room: Room) -> None:
    services = [room.service("registry"), room.service("serving")]
    await start_all(services, 20)
    assert room.told("starting") == ["registry", "serving"]
    assert sorted(room.told("ready")) == ["registry", "serving"]
    pids = [service.pid for service in services]
    await stop_all(services, 5)
    assert room.told("stopped") == ["serving", "registry"]
    assert all(gone(pid) for pid in pids)


async def test_a_service_that_dies_comes_back_and_its_child_does_not_linger(room: Room) -> None:
    service = room.service("trainer")
    await start_all([service], 20)
    first, child = service.pid, room.child_of("trainer")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: room.told("ready") == ["trainer", "trainer"], 20, "the second start")
    assert service.pid != first
    assert service.restarts == 1
    await until(lambda: gone(child), 5, "the end of the grandchild")
    died = next(event for event in room.events if event.kind == "died")
    assert "was killed by SIGKILL" in died.detail
    assert "child" not in died.detail  # its last line, which has nothing to do with it
    assert died.seconds == 0.5


async def test_a_service_that_cannot_start_is_told_with_its_last_words(room: Room) -> None:
    broken = room.service("monitor", mode="broken")
    with pytest.raises(ServiceStopped, match=r"The monitor service ended with status 1 .*the database is on fire"):
        await start_all([room.service("registry"), broken], 20)


def test_only_a_fresh_error_since_the_start_is_told(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "a.log")

    def write(*lines: str) -> None:
        with log.path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def record(level: str, age_seconds: float) -> str:
        return json.dumps({"time": (datetime.now(UTC) - timedelta(seconds=age_seconds)).isoformat(), "level": level})

    write(record("error", 0))
    os.close(log.open())
    assert (log.last_line(), log.last_error(5)) == ("", "")
    fresh = record("error", 0)
    write(record("error", 60), "[]", "plain", record("info", 0))
    assert log.last_error(5) == ""
    write(fresh, record("info", 0))
    assert log.last_error(5) == fresh


async def test_a_service_that_will_not_stop_is_killed_in_time(room: Room) -> None:
    service = room.service("loop", mode="stubborn")
    await start_all([service], 20)
    pid, child = service.pid, room.child_of("loop")
    began = asyncio.get_running_loop().time()
    await service.stop(0.5)
    assert asyncio.get_running_loop().time() - began < 5
    assert gone(pid)
    await until(lambda: gone(child), 5, "the end of the grandchild")


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    (tmp_path / "tiny_service.py").write_text(PROGRAM)
    port = free_ports(1)[0]
    program = f"""
import asyncio, os
from pathlib import Path
from trimtab.local.processes import ServiceProcess, ServiceSpec, start_all
async def main():
    service = ServiceProcess(
        ServiceSpec("tuner", "tiny_service", "http://127.0.0.1:{port}/readyz"),
        log_dir=Path({str(tmp_path)!r}),
        environment={{**os.environ, "PYTHONPATH": {str(tmp_path)!r}, "MODE": "stubborn", "PORT": "{port}"}},
        tell=lambda event: None,
    )
    await start_all([service], 20)
    print(service.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        try:
            pid = int(supervisor.stdout.readline())
            grandchild = child_in(tmp_path / "tuner.log")
        finally:
            supervisor.kill()
    until_sync(lambda: gone(pid), 5, "the end of the service")
    os.kill(grandchild, signal.SIGKILL)  # its own parent's to leash; here a plain one
