"""The MLmodel file: which flavours the model has, what it takes, and where it came from.

Source: https://mlflow.org/docs/latest/ml/model/ ("MLmodel file"), and `mlflow.models.Model` of MLflow 3.17.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from services.kernel.errors import InvalidInput
from trimtab.mlflow.source import MLMODEL

MAX_MLMODEL_BYTES = 4 << 20
"""Size of one MLmodel file."""
MAX_COLUMNS = 10_000
"""Columns of one MLflow signature that are looked at."""


@dataclass(frozen=True)
class Column:
    """One named column of a signature; `kind` is MLflow's name of its type (`double`, `long`, `string`, ...)."""

    name: str
    kind: str
    required: bool = True


@dataclass(frozen=True)
class MLmodel:
    """What an MLmodel file says. `columns` are empty when the signature has none or describes tensors."""

    flavors: Mapping[str, Mapping[str, Any]]
    columns: tuple[Column, ...] = ()
    run_id: str | None = None
    model_id: str | None = None


def read_mlmodel(data: bytes) -> MLmodel:
    """Parse the file. Raises `InvalidInput`."""
    if len(data) > MAX_MLMODEL_BYTES:
        raise InvalidInput(f"the {MLMODEL} file has more than {MAX_MLMODEL_BYTES} bytes")
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidInput(f"the {MLMODEL} file is not YAML: {' '.join(str(error).split())[:200]}") from error
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(flavors, dict) or not flavors:
        raise InvalidInput(f"the {MLMODEL} file names no flavour")
    return MLmodel(
        flavors={str(name): options for name, options in flavors.items() if isinstance(options, dict)},
        columns=_columns(document.get("signature")),
        run_id=_text(document.get("run_id")),
        model_id=_text(document.get("model_id")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _columns(signature: Any) -> tuple[Column, ...]:
    """The input columns, all of them or none."""
    inputs = signature.get("inputs") if isinstance(signature, dict) else None
    if isinstance(inputs, str):  # a JSON text within the YAML
        try:
            inputs = json.loads(inputs)
        except (ValueError, RecursionError):
            return ()
    if not isinstance(inputs, list) or len(inputs) > MAX_COLUMNS:
        return ()
    columns = []
    for item in inputs:
        name, kind = (item.get("name"), item.get("type")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(kind, str) or kind == "tensor":
            return ()
        columns.append(Column(name, kind, item.get("required", True) is not False))
    return tuple(columns)
