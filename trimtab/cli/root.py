"""The table of commands, and a group that imports a command's module only when it is called."""

import importlib
import json
import logging
import sys
from difflib import get_close_matches
from typing import Any

import typer
import typer.core
import typer.main

from services.kernel.errors import TrimtabError
from trimtab.cli.output import page

COMMANDS = {
    "up": "Start everything on this machine, in the foreground.",
    "demo": "Play the whole story on real data, with every step verified.",
    "doctor": "Look at every dependency: what was found, what is wrong, how to mend it.",
    "train": "Submit a training job.",
    "jobs": "List, show or cancel training jobs.",
    "models": "List, show, register, promote or archive models.",
    "deploy": "Give a version traffic.",
    "rollback": "Back to what was deployed before.",
    "predict": "Ask a model, for one input or a file of rows.",
    "explain": "What each feature adds to a model's answer.",
    "labels": "Send the truth about earlier predictions.",
    "drift": "The drift of every feature, and the open signals.",
    "experiment": "Run and compare hyper-parameter searches.",
    "loop": "Look at the closed loop, pause it, start a cycle.",
    "why": "The chain of events that led to a version.",
    "events": "Tell the registry's events again.",
    "signers": "Add, list and revoke those whose signatures of versions are trusted.",
    "backup": "Save the whole installation in a folder.",
    "restore": "Bring a saved installation back into an empty one.",
    "keys": "Create, list and revoke API keys.",
    "dlq": "Look at dead letters; replay, drop or step over them.",
    "topics": "Look at the Kafka topics, or create them.",
    "schemas": "Export JSON Schema and AsyncAPI.",
    "fetch-broker": "Download the embedded broker into a folder, for a machine without a network.",
}
"""Name -> one line of help; the module is `trimtab.cli.NAME` with an underscore for a dash."""


class LazyGroup(typer.core.TyperGroup):
    """Knows the commands from `COMMANDS` and imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command `cmd_name`, imported now; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"trimtab.cli.{cmd_name.replace('-', '_')}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The called command; for a wrong name the error says which one was meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            meant = get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {meant[0]!r}?" if meant else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("trimtab"))
        raise typer.Exit


app = typer.Typer(cls=LazyGroup, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def trimtab(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Trimtab keeps machine-learning models on course.

    Every command takes --json, --url and --api-key (or TRIMTAB_URL and TRIMTAB_API_KEY).
    """


def run() -> None:
    """Run the command line and end the process."""
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what it has to say is in our own errors
    try:
        app(prog_name="trimtab")
    except TrimtabError as error:
        if "--json" in sys.argv:
            facts = {**error.facts, "error": error.code, "detail": error.detail}
            print(json.dumps(facts, default=str), file=sys.stderr)
        else:
            print(f"trimtab: {page(error.detail)}", file=sys.stderr)
        sys.exit(1)
