"""`make` of deploy/make_secrets.py, which is a program and not part of a package."""

import runpy
from pathlib import Path


def make(folder: Path) -> list[str]:
    """Write the missing secret files into `folder`; returns their names."""
    program = runpy.run_path(str(Path(__file__).parents[3] / "deploy" / "make_secrets.py"))
    names: list[str] = program["make"](folder)
    return names
