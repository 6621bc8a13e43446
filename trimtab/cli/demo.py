"""`trimtab demo`: the whole story on real data."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, checked, single

if TYPE_CHECKING:
    from trimtab.demo.telling import Telling
    from trimtab.local.cluster import LocalCluster
    from trimtab.local.events import ClusterEvent
    from trimtab.local.settings import LocalSettings

app = single()

OF_ANOTHER_WORLD = (
    "TRIMTAB_HOST",
    "TRIMTAB_AUTH",
    "TRIMTAB_API_KEY",
    "TRIMTAB_KAFKA_BOOTSTRAP",
    "TRIMTAB_TOPIC_PREFIX",
    "TRIMTAB_DATABASE_URL",
    "TRIMTAB_STORAGE_DIR",
    "TRIMTAB_MODEL_STORAGE_TYPE",
    "MODEL_STORAGE_TYPE",
)
"""Variables that would lead the demo's services to somebody's real broker, database or artifacts: not for them."""


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")] = False,
    port: Annotated[int | None, typer.Option(help="Public port; default 3006.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of the merged metrics; default 9090.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of all state, kept at the end; default: a new one, deleted.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network for the broker.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Train, deploy, let the traffic drift, and watch the loop heal it: real Kafka, real data, every step verified.

    Starts its own broker and services. Exit status 0 only if every step was verified.
    """
    import asyncio
    import os
    import tempfile

    from trimtab.local.settings import LocalSettings
    from trimtab.local.signals import until_signalled

    for name in OF_ANOTHER_WORLD:
        os.environ.pop(name, None)
    folder = (data_dir or Path(tempfile.mkdtemp(prefix="trimtab-demo-"))).absolute()
    settings = checked(
        LocalSettings,
        {"serving_port": port, "metrics_port": metrics_port, "data_dir": folder, "offline": offline or None},
    )
    status = asyncio.run(until_signalled(_run(settings, keep=keep, as_json=as_json)))
    if data_dir is None and not keep and status == 0:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(status)


async def _run(settings: "LocalSettings", *, keep: bool, as_json: bool) -> int:
    import asyncio
    import sys
    import time

    from services.kernel.errors import TrimtabError
    from trimtab.async_client import AsyncClient
    from trimtab.demo.data import prepare
    from trimtab.demo.plan import Plan
    from trimtab.demo.story import Story
    from trimtab.demo.telling import JsonTelling, TerminalTelling
    from trimtab.local.cluster import LocalCluster
    from trimtab.local.progress import download_progress

    telling: Telling = JsonTelling() if as_json or not sys.stdout.isatty() else TerminalTelling()
    telling.begin("start", "Kafka and the services")
    began = time.monotonic()
    preparing = asyncio.create_task(prepare(settings.data_dir / "demo"))
    starting = _Starting(telling)
    plan = Plan()
    try:
        with download_progress("Apache Kafka") as progress:
            cluster = LocalCluster(settings, environment=plan.environment(), tell=starting.on_event, progress=progress)
            async with cluster:
                telling.done(*starting.summary(cluster))
                chosen = settings.model_copy(update={"kafka_bootstrap": cluster.bootstrap})
                async with AsyncClient(cluster.url) as client:
                    story = Story(client, chosen, await preparing, telling, plan)
                    result = await story.play()
                telling.result({**result, "seconds_in_all": time.monotonic() - began})
                if keep:
                    await _stay(settings, cluster, as_json)
    except TrimtabError as error:
        telling.failed(error.detail, {"logs": str(settings.data_dir / "logs")})
        return 1
    finally:
        preparing.cancel()
    return 0


class _Starting:
    """Tells how the start goes on, and sums it up."""

    def __init__(self, telling: "Telling") -> None:
        self._telling = telling
        self._ready: list[str] = []
        self._up = False

    def on_event(self, event: "ClusterEvent") -> None:
        """Take one event of the cluster's life."""
        if event.kind == "died":
            self._telling.note(f"{event.part} {event.detail}; next start in {event.seconds:.1f} s")
        elif event.kind == "ready" and not self._up:
            self._ready.append(event.part)
            self._telling.progress(f"{event.part} ready after {event.seconds:.1f} s")

    def summary(self, cluster: "LocalCluster") -> tuple[str, dict[str, Any]]:
        """What stands now."""
        self._up = True
        return (
            f"a broker at {cluster.bootstrap}, {len(cluster.names)} services, {cluster.url}",
            {"url": cluster.url, "kafka": cluster.bootstrap, "data_dir": str(cluster.data_dir)},
        )


async def _stay(settings: "LocalSettings", cluster: "LocalCluster", as_json: bool) -> None:
    import asyncio
    import json

    metrics = f"http://127.0.0.1:{settings.metrics_port}/metrics"
    if as_json:
        print(
            json.dumps({"event": "kept", "url": cluster.url, "metrics": metrics, "kafka": cluster.bootstrap}),
            flush=True,
        )
    else:
        print(f"\nEverything still runs; Ctrl-C stops it.\n  page and API  {cluster.url}\n  metrics       {metrics}")
        print(f"  Kafka         {cluster.bootstrap}\n  data and logs {cluster.data_dir}", flush=True)
    with suppress(asyncio.CancelledError):  # Ctrl-C: the story was verified, so this is a good end
        await asyncio.Event().wait()
