"""`trimtab predict`: one input, or a file of rows."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.options import ApiKey, AsJson, Url, connected, single
from trimtab.cli.output import facts, show, table

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.client import Client

app = single()

BATCH_ROWS = 500


@app.command()
def predict(
    model_id: Annotated[str, typer.Argument(help="The model's id.", metavar="ID")],
    input: Annotated[str | None, typer.Option(help="One input: a JSON object of feature and value.")] = None,
    file: Annotated[Path | None, typer.Option(help="Rows: .csv, .jsonl or .parquet.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="The file's column with the truth: sent on, and the accuracy is shown.")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model for predictions."""
    if (input is None) == (file is None):
        raise InvalidInput("give either --input JSON or --file ROWS")
    with connected(url, api_key) as client:
        if input is not None:
            found = client.predict(model_id, parse_input(input))
            show(found, as_json, lambda console: _draw(console, found))
            return
        assert file is not None
        answer = _predict_file(client, model_id, file, labels)
    show(answer, as_json, lambda console: _draw_file(console, answer))


def parse_input(text: str) -> dict[str, Any]:
    """The row in `--input`. Raises `InvalidInput`."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--input is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput("--input must be a JSON object of feature and value")
    return document


def _predict_file(client: "Client", model_id: str, path: Path, label_column: str | None) -> dict[str, Any]:
    from trimtab import calls
    from trimtab.cli.rows import read_rows, typed
    from trimtab.served import check_labels, classes_of

    if label_column is not None:
        truths = (_truth(row, path, label_column) for row in read_rows(path))
        check_labels(truths, classes_of(client, model_id), model_id, f"the column {label_column!r} of {path}")
    about = client.send(calls.served_model(model_id))
    datatypes = {feature["name"]: feature["datatype"] for feature in about["inputs"]}
    predictions: list[dict[str, Any]] = []
    right = sent = 0
    for rows in _chunks(read_rows(path)):
        answers = client.predict_batch(model_id, [typed(row, datatypes) for row in rows])["predictions"]
        predictions += answers
        if label_column is not None:
            truth = {a["prediction_id"]: row[label_column] for a, row in zip(answers, rows, strict=True)}
            client.send_labels(model_id, truth)
            sent += len(truth)
            right += sum(str(a["prediction"]) == str(truth[a["prediction_id"]]) for a in answers)
    if not predictions:
        raise InvalidInput(f"{path} holds no rows")
    measured = {"labels_sent": sent, "accuracy": right / sent} if sent else {}
    return {"model_id": model_id, "rows": len(predictions), **measured, "predictions": predictions}


def _truth(row: dict[str, Any], path: Path, label_column: str) -> Any:
    if label_column not in row:
        raise InvalidInput(f"{path} has no column {label_column!r}")
    return row[label_column]


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(islice(rows, BATCH_ROWS)):
        yield chunk


def _draw(console: "Console", answer: dict[str, Any]) -> None:
    facts(console, list(answer.items()))


def _draw_file(console: "Console", answer: dict[str, Any]) -> None:
    rows = [
        (
            number,
            row["prediction"],
            max((row.get("probabilities") or {}).values(), default=None),
            row["version"],
            row["prediction_id"],
        )
        for number, row in enumerate(answer["predictions"][:20], start=1)
    ]
    table(console, ("row", "prediction", "probability", "version", "prediction id"), rows, empty="no rows")
    more = f", the first {len(rows)} above" if answer["rows"] > len(rows) else ""
    console.print(f"{answer['rows']} predictions{more}", markup=False)
    if "accuracy" in answer:
        console.print(f"accuracy {answer['accuracy']:.4f} on {answer['labels_sent']} labels, which were sent on")
