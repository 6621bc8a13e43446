"""The group `trimtab models`, and the arguments that its commands share."""

from typing import Annotated

import typer

from trimtab.cli.options import group

app = group("List, show, register, promote or archive models.")

ModelId = Annotated[str, typer.Argument(help="The model's id.", metavar="ID")]
VersionText = Annotated[
    str, typer.Argument(help="The version, MAJOR.MINOR.PATCH, or an alias: @champion.", metavar="VERSION")
]
Comment = Annotated[str, typer.Option(help="Why; kept in the history.")]
