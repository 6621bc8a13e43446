"""`trimtab labels`: the truth about earlier predictions."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.options import ApiKey, AsJson, Url, connected, group
from trimtab.cli.output import show

app = group("Send the truth about earlier predictions.")

BATCH_ROWS = 5_000


@app.callback()
def labels() -> None:
    """Send the truth about earlier predictions."""


@app.command("send")
def send(
    model_id: Annotated[str, typer.Argument(help="The model's id.", metavar="ID")],
    file: Annotated[Path, typer.Argument(help="Columns prediction_id and label: .csv, .jsonl or .parquet.")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Send a file of labels."""
    from trimtab.cli.rows import read_rows
    from trimtab.served import check_labels, classes_of

    rows = read_rows(file)
    sent = 0
    with connected(url, api_key) as client:
        check_labels(_truths(read_rows(file), file), classes_of(client, model_id), model_id, str(file))
        while chunk := list(islice(rows, BATCH_ROWS)):
            client.send_labels(model_id, [{"prediction_id": r["prediction_id"], "label": r["label"]} for r in chunk])
            sent += len(chunk)
    if not sent:
        raise InvalidInput(f"{file} holds no rows")
    document = {"model_id": model_id, "sent": sent}
    show(document, as_json, lambda console: console.print(f"{sent} labels sent", markup=False))


def _truths(rows: Iterator[dict[str, Any]], file: Path) -> Iterator[Any]:
    for row in rows:
        if not row.get("prediction_id") or row.get("label") in (None, ""):
            raise InvalidInput(f"{file}: every row needs a prediction_id and a label")
        yield row["label"]
