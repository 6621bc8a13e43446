"""The machine that a benchmark ran on, and a table for its figures.

python -m bench.machine
"""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_PACKAGES = ("aiokafka", "numpy", "onnxruntime", "pyarrow", "pydantic", "sqlalchemy", "uvicorn", "uvloop")


def describe() -> str:
    """Machine, cores, memory, Python and the packages that matter for speed; a few lines of text."""
    cores = len(os.sched_getaffinity(0))
    memory_gib = psutil.virtual_memory().total / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return "\n".join(
        [
            f"machine  {_processor()}, {cores} cores usable, {memory_gib:.0f} GiB",
            f"system   {platform.system()} {platform.release()}, {platform.machine()}",
            f"python   {platform.python_implementation()} {platform.python_version()}",
            f"packages {versions}",
            f"load     {', '.join(f'{load:.2f}' for load in os.getloadavg())} (1, 5, 15 minutes, at the start)",
        ]
    )


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """A Markdown table with aligned columns, headed by the keys of the first row; numbers stand to the right.

    Floats are printed with three significant digits, whole numbers with thousands separated.
    """
    if not rows:
        return ""
    heads = list(rows[0])
    cells = [[_cell(row.get(head)) for head in heads] for row in rows]
    right = [isinstance(rows[0].get(head), int | float) for head in heads]
    widths = [max(len(head), *(len(line[i]) for line in cells)) for i, head in enumerate(heads)]

    def line(texts: Sequence[str]) -> str:
        aligned = (t.rjust(w) if r else t.ljust(w) for t, w, r in zip(texts, widths, right, strict=True))
        return f"| {' | '.join(aligned)} |"

    rule = "|".join(f"{'-' * (w + 1)}:" if r else "-" * (w + 2) for w, r in zip(widths, right, strict=True))
    return "\n".join([line(heads), f"|{rule}|", *(line(texts) for texts in cells)])


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float() if abs(value) >= 1000:
            return f"{value:,.0f}"
        case float():
            return f"{value:.3g}"
        case _:
            return str(value)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for row in info.read_text().splitlines():
            if row.startswith("model name"):
                return row.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    print(describe())
