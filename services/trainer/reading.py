"""Files and folders into one Arrow table of named columns.

CSV, JSON lines (or one JSON array) and Parquet; text formats also compressed with xz or gzip. A folder is all its
readable files, in the order of their names. In CSV an empty cell, `NA`, `N/A`, `NaN` and `null` are missing values.
"""

import asyncio
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from schemas.predictions import redacted_in, with_redacted
from services.kernel.errors import InvalidInput

ARTIFACT_PREFIX = "artifact:"
COMPRESSIONS = (".xz", ".gz")
FORMATS = (".csv", ".jsonl", ".ndjson", ".json", ".parquet")
FLOAT32_LIMIT = 3.4e38
"""A number at or beyond this is no float32 and counts as missing, as infinities do."""
PEEK_BYTES = 1 << 20
MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL"]

Locate = Callable[[str], Path]
"""The local copy of an `artifact:KEY` reference."""


def read_rows(reference: str, field: str, locate: Locate) -> pa.Table:
    """The rows of a file, folder or `artifact:KEY`; columns are float64, string or bool, missing values are null.

    The schema says what is redacted (`schemas.predictions.redacted_in`). `field` names the job's field in errors.
    Raises `InvalidInput` with a sentence that names field and file.
    """
    path = _resolve(reference, field, locate)
    parts = [(file, _canonical(_read_file(file, field), file, field)) for file in _files(path, field)]
    table = _concat(parts, field)
    if table.num_rows == 0:
        raise InvalidInput(f"{field}: {reference} holds no rows", field=field)
    return _saying(table, *(part.schema for _, part in parts))


async def peek_columns(reference: str) -> list[str] | None:
    """The columns of a data set as far as they can be told without reading it: those of its (first) file's first line
    or schema. None when they can't: an artifact, a path that does not exist here, a file that can't be read."""
    return await asyncio.to_thread(_peek, reference)


def _peek(reference: str) -> list[str] | None:
    if reference.startswith(ARTIFACT_PREFIX):
        return None
    try:
        path = _files(_resolve(reference, "", Path), "")[0]
        if _format(path) == ".parquet":
            return list(pa.parquet.read_schema(path).names)
        with _open(path) as file:
            line = file.readline(PEEK_BYTES)
        if _format(path) == ".csv":
            return next(csv.reader([line.decode("utf-8-sig")]), None)
        return list(json.loads(line)) if _format(path) != ".json" else None
    except (InvalidInput, pa.ArrowException, OSError, EOFError, lzma.LZMAError, ValueError):
        return None


def _resolve(reference: str, field: str, locate: Locate) -> Path:
    if reference.startswith(ARTIFACT_PREFIX):
        return locate(reference)
    if "\0" in reference or "://" in reference or reference.startswith("file:"):
        raise InvalidInput(
            f"{field}: {reference!r} is not a path; name a file or folder on the trainer's machine, or artifact:KEY",
            field=field,
        )
    path = Path(reference)
    if not path.exists():
        raise InvalidInput(f"{field}: {reference} does not exist on the trainer's machine", field=field)
    return path


def _format(path: Path) -> str | None:
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), None)


def _files(path: Path, field: str) -> list[Path]:
    if path.is_file():
        if _format(path) is None:
            raise InvalidInput(
                f"{field}: {path.name} is not one of {', '.join(FORMATS)} (with .xz or .gz)", field=field
            )
        return [path]
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and _format(file) and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if not files:
        raise InvalidInput(f"{field}: the folder {path} holds no file of {', '.join(FORMATS)}", field=field)
    return files


def _open(path: Path) -> io.BufferedIOBase:
    if path.name.lower().endswith(".xz"):
        return lzma.open(path)
    if path.name.lower().endswith(".gz"):
        return gzip.open(path)
    return path.open("rb")


def _read_file(path: Path, field: str) -> pa.Table:
    try:
        match _format(path):
            case ".csv":
                convert = pa.csv.ConvertOptions(null_values=MISSING, strings_can_be_null=True)
                with _open(path) as file:
                    return pa.csv.read_csv(file, convert_options=convert)
            case ".parquet":
                return pa.parquet.read_table(path)
            case _:
                return _read_json(path)
    except (pa.ArrowException, OSError, EOFError, lzma.LZMAError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(f"{field}: {path.name} can't be read: {reason}", field=field) from error


def _read_json(path: Path) -> pa.Table:
    with _open(path) as file:
        data = file.read()
    if data.lstrip()[:1] == b"[":
        return pa.Table.from_pylist(json.loads(data))
    return pa.json.read_json(io.BytesIO(data))


def _canonical(table: pa.Table, path: Path, field: str) -> pa.Table:
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise InvalidInput(f"{field}: {path.name} has columns of the same name: {', '.join(repeated)}", field=field)
    return _saying(pa.table(dict(_canonical_columns(table, path, field))), table.schema)


def _saying(table: pa.Table, *sources: pa.Schema) -> pa.Table:
    """`table`, which says what its sources say is redacted."""
    redacted = frozenset[str]().union(*map(redacted_in, sources))
    return table.replace_schema_metadata(with_redacted(table.schema, redacted).metadata) if redacted else table


def _canonical_columns(table: pa.Table, path: Path, field: str) -> Iterator[tuple[str, pa.ChunkedArray]]:
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            yield name, _finite(column.cast(pa.float64(), safe=False))
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            text = column.cast(pa.string())
            yield name, pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        elif pa.types.is_boolean(kind) or pa.types.is_null(kind):
            yield name, column
        elif pa.types.is_temporal(kind):
            yield name, column.cast(pa.string())
        else:
            raise InvalidInput(
                f"{field}: column {name!r} of {path.name} holds {kind} values; a feature is a number, a string or a "
                "boolean: flatten it or name it in dropColumns",
                field=field,
                column=name,
            )


def _finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    within = pc.less(pc.abs(column), FLOAT32_LIMIT)  # false for infinities and NaN
    return pc.if_else(within, column, pa.scalar(None, pa.float64()))


def _concat(parts: list[tuple[Path, pa.Table]], field: str) -> pa.Table:
    kinds: dict[str, tuple[pa.DataType, Path]] = {}
    for path, table in parts:
        for column in table.schema:
            known = kinds.get(column.name)
            if known is None or pa.types.is_null(known[0]):
                kinds[column.name] = (column.type, path)
            elif column.type != known[0] and not pa.types.is_null(column.type):
                raise InvalidInput(
                    f"{field}: column {column.name!r} holds {known[0]} values in {known[1].name} "
                    f"but {column.type} values in {path.name}",
                    field=field,
                    column=column.name,
                )
    schema = pa.schema([(name, kind) for name, (kind, _) in kinds.items()])
    return pa.concat_tables([_widen(table, schema) for _, table in parts]).combine_chunks()


def _widen(table: pa.Table, schema: pa.Schema) -> pa.Table:
    present = set(table.column_names)
    columns = [
        table.column(field.name).cast(field.type) if field.name in present else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
