"""`trimtab train`: submit a training job."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, connected, read_document, single
from trimtab.cli.output import facts, show

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.client import Client

app = single()

PATHS = ("train_path", "trainPath", "validation_path", "validationPath", "test_path", "testPath")


@app.command()
def train(
    job_file: Annotated[Path, typer.Argument(help="The training job, JSON or YAML.", metavar="JOB")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit status 1 if it failed.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Submit the training job JOB. Paths in it are relative to the file."""
    document = read_document(job_file)
    _resolve_paths(document, job_file.absolute().parent)
    with connected(url, api_key) as client:
        job = client.submit_job(document)
        if wait:
            _say_submitted(job["job_id"], as_json)
            job = _wait(client, job["job_id"], quiet=as_json)
    show(job, as_json, lambda console: draw_job(console, job))
    if wait and job["state"] != "succeeded":
        raise typer.Exit(1)


def _resolve_paths(document: dict[str, Any], folder: Path) -> None:
    for section in ("dataset_config", "datasetConfig"):
        dataset = document.get(section)
        if isinstance(dataset, dict):
            for name in PATHS:
                path = dataset.get(name)
                if isinstance(path, str) and (folder / path).exists():
                    dataset[name] = str(folder / path)


def _say_submitted(job_id: str, as_json: bool) -> None:
    """On standard error, so that the one document on standard output stays one."""
    import json
    import sys

    line = json.dumps({"event": "submitted", "job_id": job_id}) if as_json else f"{job_id} is submitted"
    print(line, file=sys.stderr, flush=True)


def _wait(client: "Client", job_id: str, *, quiet: bool) -> dict[str, Any]:
    import sys

    if quiet or not sys.stderr.isatty():
        return client.wait_job(job_id)
    from rich.console import Console

    with Console(file=sys.stderr).status(f"{job_id} queued") as status:
        return client.wait_job(job_id, on_progress=lambda job: status.update(f"{job_id} {progress_of(job)}"))


def progress_of(job: dict[str, Any]) -> str:
    """`running, epoch 3 of 16, accuracy 0.98, 4 s left`, as far as it is known."""
    parts = [str(job["state"])]
    progress = job.get("progress")
    if progress:
        parts.append(f"epoch {progress['epoch']} of {progress['epochs']}")
        metrics = progress["metrics"]
        named = next((name for name in ("val_accuracy", "accuracy", "val_loss", "loss") if name in metrics), None)
        if named:
            parts.append(f"{named} {metrics[named]:.4f}")
    if job.get("eta_seconds"):
        parts.append(f"{job['eta_seconds']:.0f} s left")
    return ", ".join(parts)


def draw_job(console: "Console", job: dict[str, Any]) -> None:
    """One job for a person."""
    facts(
        console,
        [
            ("job", job["job_id"]),
            ("model", job.get("model_id")),
            ("state", progress_of(job)),
            ("requested by", job["requested_by"]),
            ("reason", job["reason"]),
            ("metrics", job["metrics"]),
            ("error", job["detail"] or job["error"]),
            ("notes", (job.get("outcome") or {}).get("notes")),
        ],
    )
