"""The command line answers at once: nothing heavy is imported for help."""

import json
import subprocess
import sys

import pytest

from trimtab.cli.root import COMMANDS

HEAVY = ("httpx", "pyarrow", "numpy", "scipy", "aiokafka", "fastapi", "onnxruntime", "sqlalchemy", "uvicorn", "jinja2")

PROBE = """
import json, sys
from trimtab.cli import main
try:
    main()
except SystemExit as end:
    print(json.dumps({"status": end.code, "modules": sorted(sys.modules)}), file=sys.stderr)
"""


def _run(*arguments: str) -> tuple[str, dict[str, object]]:
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True)
    return done.stdout, json.loads(done.stderr.splitlines()[-1])


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    text, told = _run("--help")
    assert told["status"] in (0, None)
    assert all(f"\n  {name} " in text for name in COMMANDS)
    modules = told["modules"]
    assert isinstance(modules, list)
    assert [name for name in HEAVY if name in modules] == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_that_imports_nothing_heavy(command: str) -> None:
    text, told = _run(command, "--help")
    assert "Usage:" in text
    modules = told["modules"]
    assert isinstance(modules, list)
    assert [name for name in HEAVY if name in modules] == []


def test_a_mistyped_command_is_wrong_usage_and_names_the_right_one() -> None:
    done = subprocess.run([sys.executable, "-m", "trimtab", "model"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Did you mean 'models'?" in done.stderr
