"""What a child gets: artifacts verified, paths only where they are allowed."""

import hashlib
from pathlib import Path

import pytest

from schemas.jobs import TrainingJob
from services.kernel.errors import IntegrityFailed, InvalidInput
from services.kernel.storage.local import LocalStore
from services.trainer.model import Claim
from services.trainer.preparation import check_paths, prepare
from services.trainer.settings import TrainerSettings
from services.trainer.workspace import TASK_NAME, Task

ROWS = b"x,label\n1,a\n2,b\n"


def _claim(train: str) -> Claim:
    job = TrainingJob.model_validate({"modelType": "m", "datasetConfig": {"trainPath": train}})
    return Claim(
        job_id="job-1",
        job=job,
        attempt=1,
        fence=1,
        register_as_version=True,
        requested_by="ada",
        experiment_id=None,
        trial=None,
        cycle_id="c",
        cause=None,
    )


def test_artifacts_are_fetched_and_their_digest_is_checked(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    settings = TrainerSettings(data_dir=tmp_path)
    key = f"datasets/{hashlib.sha256(ROWS).hexdigest()}.csv"
    store.put_bytes(key, ROWS)
    prepare(_claim(f"artifact:{key}"), tmp_path / "job", store, settings)
    task = Task.model_validate_json((tmp_path / "job" / TASK_NAME).read_bytes())
    assert task.inputs[f"artifact:{key}"].read_bytes() == ROWS
    assert task.cycle_id == "c"
    store.put_bytes(key, ROWS + b"3,a\n")
    with pytest.raises(IntegrityFailed, match="does not have the digest"):
        prepare(_claim(f"artifact:{key}"), tmp_path / "job-2", store, settings)
    with pytest.raises(InvalidInput, match=r"^datasetConfig\.trainPath: the artifact store has no datasets/none\.csv$"):
        prepare(_claim("artifact:datasets/none.csv"), tmp_path / "job-3", store, settings)


@pytest.mark.parametrize("path", ["{root}/../secret.csv", "/etc/passwd", "{root}/link/secret.csv", "secret.csv"])
def test_paths_outside_of_the_allowed_folders_are_refused(tmp_path: Path, path: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    settings = TrainerSettings(trainer_data_roots=f"/nowhere, {root}")
    with pytest.raises(InvalidInput, match="TRIMTAB_TRAINER_DATA_ROOTS"):
        check_paths(_claim(path.format(root=root)).job, settings.data_roots)
    check_paths(_claim(f"{root}/train.csv").job, settings.data_roots)
    check_paths(_claim("artifact:datasets/x.csv").job, settings.data_roots)
    check_paths(_claim(path).job, TrainerSettings().data_roots)
