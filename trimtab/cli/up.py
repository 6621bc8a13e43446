"""`trimtab up`: the local cluster in the foreground."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, checked, read_document, single

if TYPE_CHECKING:
    from trimtab.local.events import ClusterEvent, Listener
    from trimtab.local.settings import LocalSettings

app = single()


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="Public port; default 3006.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of the merged metrics; default 9090.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of all state; default .trimtab.")] = None,
    kafka: Annotated[
        str | None, typer.Option(help="Use this Kafka (HOST:PORT) and don't start one.", metavar="HOST:PORT")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Start these services only, comma-separated.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A server configuration document (JSON or YAML), applied once all is up.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Serving processes that share the public port; default 1.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network for the broker.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Start a Kafka broker (unless one is given) and all services; Ctrl-C stops them in order.

    A second `up` continues with the same data.
    """
    import asyncio

    from trimtab.local.settings import LocalSettings
    from trimtab.local.signals import until_signalled

    settings = checked(
        LocalSettings,
        {
            "serving_port": port,
            "metrics_port": metrics_port,
            "data_dir": data_dir,
            "kafka_bootstrap": kafka,
            "serving_workers": workers,
            "offline": offline or None,
        },
    )
    names = _names(only)
    document = _server_config(config, names) if config else None
    raise typer.Exit(asyncio.run(until_signalled(_run(settings, names, document, api_key, as_json))))


def _server_config(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The document in `path`. Raises `InvalidInput` naming the file and each wrong field, before anything starts."""
    from pydantic import ValidationError

    from services.kernel.errors import InvalidInput
    from services.serving.config import ServerConfig

    if "serving" not in names:
        raise InvalidInput("--config is for the serving service, which --only leaves out")
    document = read_document(path)
    try:
        ServerConfig.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"{path} is no server configuration: {wrong}") from error
    return document


def _names(only: str | None) -> tuple[str, ...]:
    from services.kernel.errors import InvalidInput
    from services.kernel.settings import SERVICES

    if only is None:
        return SERVICES
    names = tuple(name.strip() for name in only.split(",") if name.strip())
    unknown = [name for name in names if name not in SERVICES]
    if unknown or not names:
        raise InvalidInput(f"--only takes {', '.join(SERVICES)}; not {', '.join(unknown) or 'nothing'}")
    return names


async def _run(
    settings: "LocalSettings",
    names: tuple[str, ...],
    document: dict[str, Any] | None,
    api_key: str | None,
    as_json: bool,
) -> int:
    import asyncio

    from trimtab.async_client import AsyncClient
    from trimtab.local.cluster import LocalCluster
    from trimtab.local.progress import download_progress

    tell = _teller(as_json)
    with download_progress("Apache Kafka") as progress:
        cluster = LocalCluster(settings, only=names, tell=tell, progress=progress)
        async with cluster:
            applied = None
            if document is not None:
                async with AsyncClient(cluster.url, api_key=api_key) as client:
                    applied = await client.set_serving_config(document)
            _say_up(settings, cluster, as_json)
            if applied is not None:
                _say_applied(applied, as_json)
            await asyncio.Event().wait()
    return 0


def _teller(as_json: bool) -> "Listener":
    import json

    def tell(event: "ClusterEvent") -> None:
        if as_json:
            line = {"event": event.kind, "part": event.part, "detail": event.detail, "seconds": round(event.seconds, 2)}
            print(json.dumps(line), flush=True)
        elif event.kind == "ready":
            print(f"  {event.part:<9} ready in {event.seconds:.1f} s  {event.detail}".rstrip(), flush=True)
        elif event.kind == "died":
            print(f"  {event.part:<9} {event.detail}; next start in {event.seconds:.1f} s", flush=True)
        elif event.kind == "stopped":
            print(f"  {event.part:<9} stopped", flush=True)

    return tell


def _say_up(settings: "LocalSettings", cluster: Any, as_json: bool) -> None:
    import json

    facts = {
        "url": cluster.url,
        "metrics": f"http://127.0.0.1:{settings.metrics_port}/metrics",
        "kafka": cluster.bootstrap,
        "data_dir": str(cluster.data_dir),
    }
    if as_json:
        print(json.dumps({"event": "up", **facts}), flush=True)
        return
    print(f"\nTrimtab is up: {facts['url']}   (page and API; Ctrl-C stops everything)")
    print(f"  metrics {facts['metrics']}   Kafka {facts['kafka']}   data {facts['data_dir']}", flush=True)


def _say_applied(applied: dict[str, Any], as_json: bool) -> None:
    import json

    if as_json:
        print(json.dumps({"event": "config", **applied}), flush=True)
        return
    given = ", ".join(f"{name} {value}" for name, value in applied.items() if name not in ("not_built", "notes"))
    print(f"  server configuration applied: {given}", flush=True)
    for missing in applied["not_built"]:
        print(f"  not built: {missing}", flush=True)
    for note in applied.get("notes", ()):
        print(f"  note: {note}", flush=True)
