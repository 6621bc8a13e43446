"""`trimtab models`: one module for each kind of command; importing it adds its commands to the group."""

from trimtab.cli.models import (
    archives,
    browse,
    governance,
    importance,
    imports,
    insight,
    keeping,
    register,
    search,
    stages,
)
from trimtab.cli.models.group import app

__all__ = [
    "app",
    "archives",
    "browse",
    "governance",
    "importance",
    "imports",
    "insight",
    "keeping",
    "register",
    "search",
    "stages",
]
