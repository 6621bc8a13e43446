"""A SavedModel folder becomes the folder of a version: with an ONNX graph where it converts, as it is where not.

TensorFlow is not imported here: a child process with capped memory and time looks, converts and compares.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.manifest import MODEL_NAME, SAVED_MODEL_FILE
from services.kernel.errors import InvalidInput, TooLarge
from services.kernel.leash import leashed
from trimtab.conversion import saved_model_child

MEMORY_BYTES = 16 << 30
"""Address space of the child, beside eight times the folder's size; TensorFlow takes much of it and uses little."""
SECONDS = 600
"""Time of the child."""
MAX_REASON = 400
"""Characters of the tag that says why a SavedModel was not converted."""


@contextmanager
def convert_saved_model(
    source: Path, metadata: Mapping[str, Any], classes: Any = None
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder to register in place of the SavedModel `source`, and its metadata; gone when the context ends.

    Other files of the folder (a baseline) go along. A SavedModel that does not convert is registered as it is, and its
    tag `onnx` says why. Raises `InvalidInput` for one that no registry takes, and `TooLarge`.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-savedmodel-") as name:
        home, folder = Path(name) / "home", Path(name) / "version"
        home.mkdir()
        folder.mkdir()
        answer = _converted(source, folder / MODEL_NAME, home)
        tags = {"framework_version": answer["tensorflow"]}
        if "reason" in answer:
            tags["onnx"] = f"not converted: {answer['reason']}"[:MAX_REASON]
            shutil.rmtree(folder)
            folder = source
        else:
            tags["onnx"] = "converted from a SavedModel"
            for path in source.rglob("*"):
                within = path.relative_to(source)
                if path.is_file() and not SAVED_MODEL_FILE.fullmatch(within.as_posix()):
                    (folder / within).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, folder / within)
        given = {"framework": "tensorflow", **metadata, **({} if classes is None else {"classes": list(classes)})}
        yield folder, {**given, "tags": {**tags, **metadata.get("tags", {})}}


def _converted(source: Path, target: Path, home: Path) -> dict[str, Any]:
    size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    memory_bytes = MEMORY_BYTES + 8 * size
    assert saved_model_child.__file__ is not None
    command = [sys.executable, "-I", saved_model_child.__file__, str(source.absolute()), str(target)]
    needed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    said = {"LANG": "C.UTF-8", "HOME": str(home), "TMPDIR": str(home), "ORT_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(
            leashed([*command, str(memory_bytes), str(SECONDS)]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**needed, **said},
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TooLarge(f"the SavedModel was not looked into within {SECONDS} s") from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
        raise TooLarge(
            f"the SavedModel could not be looked into within {memory_bytes >> 20} MiB and {SECONDS} s "
            f"(its process ended with {done.returncode}: {words})"
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "refused" in answer:
        raise InvalidInput(f"{source.name}: {answer['refused']}")
    return answer
