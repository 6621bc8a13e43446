"""The child process of one job: `python -m services.trainer.child FOLDER`.

Reads `task.json`, writes progress lines on stdout (one JSON object an epoch) and ends with `result.json`. Whatever the
libraries print goes to stderr. It has no database, no broker and no credentials, so a crash here harms only its job.
"""

import os
import sys
from pathlib import Path

from services.kernel.errors import TrimtabError
from services.trainer.workspace import RESULT_NAME, TASK_NAME, EpochReport, Failure, Result, Task

TENSORFLOW = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # the same sums in the same order, on every processor
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "tensorflow",
}
"""Environment that must stand before TensorFlow is imported."""


def main(folder: Path) -> int:
    """Do the task in `folder`; 0 when there is a model, 3 when `result.json` says why there is none."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    os.environ.update(TENSORFLOW)
    task = Task.model_validate_json((folder / TASK_NAME).read_bytes())
    os.nice(task.niceness)

    def report(epoch: EpochReport) -> None:
        lines.write(epoch.model_dump_json() + "\n")

    from services.trainer.runner import run

    try:
        result = run(task, folder, report)
    except TrimtabError as error:
        result = Result(failure=Failure(error=error.code, detail=error.detail))
    except MemoryError:
        result = Result(failure=Failure(error="out-of-memory", detail="the data does not fit into the child's memory"))
    unfinished = folder / f".{RESULT_NAME}"
    unfinished.write_text(result.model_dump_json())
    unfinished.rename(folder / RESULT_NAME)
    return 3 if result.failure else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
