"""What the user names: a folder, or one of MLflow's own URIs."""

import re
from dataclasses import dataclass
from pathlib import Path

from services.kernel.errors import InvalidInput, NotFound

MLMODEL = "MLmodel"
"""The file that makes a folder an MLflow model."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOW = "give a folder with an MLmodel file, models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/RUN/PATH"


@dataclass(frozen=True)
class Folder:
    """A model folder on this machine."""

    path: Path


@dataclass(frozen=True)
class RegisteredVersion:
    """`models:/name/version`."""

    name: str
    version: str


@dataclass(frozen=True)
class RegisteredAlias:
    """`models:/name@alias`."""

    name: str
    alias: str


@dataclass(frozen=True)
class LoggedModel:
    """`models:/m-...`: a model as MLflow 3 logs it, registered or not."""

    model_id: str


@dataclass(frozen=True)
class RunArtifact:
    """`runs:/run/path`."""

    run_id: str
    path: str


Source = Folder | RegisteredVersion | RegisteredAlias | LoggedModel | RunArtifact


def parse_source(text: str) -> Source:
    """What `text` names. Raises `InvalidInput` for what is none of the forms and `NotFound` for a folder without model.

    >>> parse_source("models:/fraud/3")
    RegisteredVersion(name='fraud', version='3')
    >>> parse_source("models:/fraud@champion")
    RegisteredAlias(name='fraud', alias='champion')
    >>> parse_source("runs:/0123abcd/model")
    RunArtifact(run_id='0123abcd', path='model')
    """
    if text.startswith("models:"):
        return _registered(text)
    if text.startswith("runs:"):
        run_id, _, path = _path_of(text).partition("/")
        if not _ID.fullmatch(run_id) or not path:
            raise InvalidInput(f"{text!r} does not name an artifact of a run: {_HOW}")
        return RunArtifact(run_id, path.rstrip("/"))
    folder = Path(text)
    if not folder.is_dir():
        raise NotFound(f"there is no folder {text}: {_HOW}")
    if not (folder / MLMODEL).is_file():
        raise NotFound(f"the folder {text} holds no {MLMODEL} file: {_HOW}")
    return Folder(folder)


def _registered(text: str) -> Source:
    name, slash, version = _path_of(text).partition("/")
    if slash:
        if not name or not (version.isascii() and version.isdigit()):
            raise InvalidInput(f"{text!r} names no version by its number: {_HOW}")
        return RegisteredVersion(name, version)
    name, at, alias = name.rpartition("@")
    if at:
        if not name or not alias:
            raise InvalidInput(f"{text!r} names no alias of a model: {_HOW}")
        return RegisteredAlias(name, alias)
    if not alias.startswith("m-") or not _ID.fullmatch(alias):
        raise InvalidInput(f"{text!r} names no version, no alias and no logged model: {_HOW}")
    return LoggedModel(alias)


def _path_of(uri: str) -> str:
    """What stands behind `scheme:/`. Another server within the URI is none of ours."""
    _, _, path = uri.partition(":")
    if not path.startswith("/") or path.startswith("//"):
        raise InvalidInput(f"{uri!r} is not of the form scheme:/path; the server is named by the tracking URI: {_HOW}")
    return path[1:]
