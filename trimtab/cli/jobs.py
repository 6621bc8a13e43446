"""`trimtab jobs`: training jobs."""

from typing import Annotated

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, connected
from trimtab.cli.output import show, table, when
from trimtab.cli.train import draw_job, progress_of

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

JobId = Annotated[str, typer.Argument(help="The job's id.", metavar="JOB_ID")]


@app.callback(invoke_without_command=True)
def jobs(ctx: typer.Context, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List, show or cancel training jobs; without a command, list them."""
    if ctx.invoked_subcommand is None:
        list_jobs(None, url, api_key, as_json)


@app.command("list")
def list_jobs(
    model_id: Annotated[str | None, typer.Option("--model", help="Of this model only.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Training jobs, the newest first."""
    with connected(url, api_key) as client:
        found = client.jobs(model_id)
    rows = [(job["job_id"], job["model_id"], progress_of(job), when(job.get("submitted_at"))) for job in found["jobs"]]
    show(found, as_json, lambda console: table(console, ("job", "model", "state", "submitted"), rows, empty="no jobs"))


@app.command("show")
def show_job(job_id: JobId, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """One job: state, progress, metrics, error."""
    with connected(url, api_key) as client:
        job = client.job(job_id)
    show(job, as_json, lambda console: draw_job(console, job))


@app.command("cancel")
def cancel_job(job_id: JobId, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Stop a job that is queued or running."""
    with connected(url, api_key) as client:
        job = client.cancel_job(job_id)
    show(job, as_json, lambda console: console.print(f"{job_id} is being cancelled", markup=False))
