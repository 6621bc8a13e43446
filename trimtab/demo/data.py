"""The example's data: found in the checkout, split by the example's own script."""

import asyncio
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trimtab
from services.kernel.errors import NotFound

Row = tuple[dict[str, Any], str]
"""(input of a prediction, true class)."""


@dataclass(frozen=True)
class Threats:
    """The training job, and the two kinds of traffic."""

    job: dict[str, Any]
    calm: list[Row]
    shifted: list[Row]


async def prepare(folder: Path) -> Threats:
    """Write the split into `folder` and read it back. Raises `NotFound` outside of a checkout."""
    return await asyncio.to_thread(_prepare, folder)


def _prepare(folder: Path) -> Threats:
    script = Path(trimtab.__file__).parent.parent / "examples" / "threats" / "data.py"
    if not script.exists():
        raise NotFound(f"the demo's data is not at {script.parent}: run `make demo` in a checkout of Trimtab")
    spec = importlib.util.spec_from_file_location("trimtab_example_threats", script)
    assert spec is not None, "a path to a Python file has a spec"
    assert spec.loader is not None, "and the spec a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files = module.prepare(folder)
    return Threats(json.loads(files.job.read_text()), module.requests(files.calm), module.requests(files.shifted))
