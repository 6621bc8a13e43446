"""Small data that a network learns in a second."""

from pathlib import Path
from typing import Any

import numpy as np


def write_rows(path: Path, rows: int, seed: int = 0, turned: bool = False, **more: list[Any]) -> Path:
    """Two classes that a line parts, with a string that helps and gaps in both; `turned` swaps the classes."""
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(2, rows))
    lines = [",".join(["x", "y", "kind", "label", *more])]
    for i in range(rows):
        label = "up" if (x[i] + y[i] > 0) != turned else "down"
        kind = "" if i % 17 == 0 else ("hot" if x[i] + y[i] > 1 else "cold")
        left = "" if i % 23 == 0 else f"{x[i]:.4f}"
        lines.append(",".join([left, f"{y[i]:.4f}", kind, label, *(str(values[i]) for values in more.values())]))
    path.write_text("\n".join(lines) + "\n")
    return path


def job_document(train: Path, **changes: Any) -> dict[str, Any]:
    """A job that takes about a second, as a person writes it."""
    return {
        "modelType": "line",
        "datasetConfig": {"trainPath": str(train)},
        "modelConfig": {"layers": [16], "optimizer": {"learningRate": 0.02}},
        "trainingConfig": {"epochs": 6, "batchSize": 32},
    } | changes


def long_job(train: Path) -> dict[str, Any]:
    """A job that trains until it is stopped."""
    return job_document(train, trainingConfig={"epochs": 100_000, "batchSize": 32, "earlyStopping": {"enabled": False}})
