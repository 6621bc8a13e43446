"""A registry in a process of its own, without a broker: `python -m tests.registry_process PORT`.

Its routes answer over real sockets, and it may be killed at any moment; its events stay in the outbox. Its settings
come from the environment.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import httpx
import uvicorn

from services.kernel.leash import leashed
from services.kernel.migrate import migrate
from services.registry.app import build
from services.registry.settings import RegistrySettings
from tests.waiting import until_sync
from trimtab.local.ports import LOOPBACK, free_ports


class RegistryProcess:
    """Starts at once on a free port with `data_dir`; `kill` ends it as a crash would, `restart` brings it back."""

    def __init__(
        self, data_dir: Path, environment: Mapping[str, str] | None = None, preexec: Callable[[], None] | None = None
    ) -> None:
        self._port = free_ports(1)[0]
        self._environment = {**os.environ, "TRIMTAB_DATA_DIR": str(data_dir), **(environment or {})}
        self._preexec = preexec
        self.url = f"http://{LOOPBACK}:{self._port}"
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the process that answers."""
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL; returns when it has ended."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Kill it if it lives, and start it again on the same data and port."""
        self.kill()
        self._start()

    def resident_bytes(self) -> int:
        """Memory of the process now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _start(self) -> None:
        self._process = subprocess.Popen(
            leashed([sys.executable, "-m", "tests.registry_process", str(self._port)]),
            env=self._environment,
            cwd=Path(__file__).parents[1],
            preexec_fn=self._preexec,
        )
        until_sync(self._answers, 60, "the registry's first answer")

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the registry ended with {self._process.returncode}")
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


def _main(port: int) -> None:
    settings = RegistrySettings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    service = build(settings)
    migrate(service.db, "services.registry.migrations")
    assert service.app is not None
    uvicorn.run(
        service.app, host=LOOPBACK, port=port, http="httptools", loop="uvloop", lifespan="off", log_level="warning"
    )


if __name__ == "__main__":
    _main(int(sys.argv[1]))
