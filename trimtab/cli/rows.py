"""Rows of a file as inputs of predictions, typed by the model's signature."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.kernel.errors import InvalidInput


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a CSV, JSON-lines or Parquet file. CSV cells stay text. Raises `InvalidInput`."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                yield from csv.DictReader(file)
        elif suffix in (".jsonl", ".ndjson"):
            with path.open(encoding="utf-8") as file:
                yield from (json.loads(line) for line in file if line.strip())
        elif suffix == ".parquet":
            import pyarrow.parquet as parquet

            for batch in parquet.ParquetFile(path).iter_batches(1000):
                yield from batch.to_pylist()
        else:
            raise InvalidInput(f"{path}: rows are read from .csv, .jsonl and .parquet files")
    except OSError as error:
        raise InvalidInput(f"{path} can't be read ({error.strerror or error})") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is not a readable {suffix} file ({error})") from error


def typed(row: Mapping[str, Any], datatypes: Mapping[str, str]) -> dict[str, Any]:
    """The features of `row` that `datatypes` (feature -> V2 datatype) names; text becomes what the model takes.

    An empty cell is a missing value. Raises `InvalidInput` naming a cell that is no number.
    """
    return {name: _value(name, row.get(name), datatype) for name, datatype in datatypes.items() if name in row}


def _value(name: str, value: Any, datatype: str) -> Any:
    if not isinstance(value, str) or datatype == "BYTES":
        return value
    if value == "":
        return None
    if datatype == "BOOL":
        return value.lower() in ("true", "1", "yes")
    try:
        return float(value) if datatype.startswith("FP") else int(float(value))
    except ValueError as error:
        raise InvalidInput(f"the column {name!r} holds {value!r}, which is no number") from error
