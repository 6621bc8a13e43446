"""The example's data and job belong together."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from schemas.jobs import TrainingJob
from services.trainer.datasets import load
from services.trainer.vocabulary import check_job

EXAMPLE = Path(__file__).parents[3] / "examples" / "threats"


@pytest.fixture
def example() -> ModuleType:
    """`examples/threats/data.py`."""
    spec = importlib.util.spec_from_file_location("threats_data", EXAMPLE / "data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_split_and_the_job(example: ModuleType, tmp_path: Path) -> None:
    files = example.prepare(tmp_path / "one")
    assert [len(path.read_text().splitlines()) - 1 for path in (files.train, files.calm, files.shifted)] == [
        20_000,
        5_192,
        22_544,
    ]
    assert example.prepare(tmp_path / "two").calm.read_bytes() == files.calm.read_bytes()
    job = TrainingJob.model_validate_json(files.job.read_bytes())
    check_job(job)
    data = load(job, Path)
    assert data.classes == ("dos", "normal", "probe", "r2l", "u2r")
    assert len(data.signature.inputs) == 41
    assert [f.name for f in data.signature.inputs if f.categories] == ["protocol_type", "service", "flag"]
    asked = example.requests(files.shifted)
    assert len(asked) == 22_544
    assert asked[0][0].keys() == {f.name for f in data.signature.inputs}
    assert {label for _, label in asked} == set(data.classes)
