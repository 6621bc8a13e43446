"""An edge bundle is made of a version's archive, and nothing in it may have been changed."""

import json
from pathlib import Path

import pytest

from schemas.features import Signature
from tests.environments import ROOT
from tests.serving_models import NUMBER, TABLE, VECTOR, number_model, table_model, vector_model
from tests.unit.edge.conftest import archive_of, unpacked
from trimtab.edge.bundling import RUNNER, graph_of, write_bundle
from trimtab.edge.runner.bundle import open_bundle
from trimtab.edge.runner.errors import IntegrityFailed, ModelFailed
from trimtab.edge.runner.inputs import RowReader
from trimtab.edge.runner.model import Model
from trimtab.errors import IntegrityFailed as ArchiveDamaged
from trimtab.errors import InvalidInput


def test_it_holds_what_is_needed_and_no_more(bundle_dir: Path) -> None:
    names = {str(path.relative_to(bundle_dir)) for path in bundle_dir.rglob("*") if path.is_file()}
    runner = {f"trimtab_edge/{path.name}" for path in RUNNER.glob("*.py")}
    papers = {"README.md", "requirements.txt", "trimtab-edge.service"}
    assert names == {"bundle.json", "manifest.json", "model.onnx", *runner, *papers}
    assert "threats 1.0.0" in (bundle_dir / "README.md").read_text()
    assert bundle_dir.name == "threats-1.0.0-edge"
    assert (bundle_dir / "requirements.txt").read_text() == (ROOT / "requirements" / "edge.in").read_text()


def test_the_same_version_is_the_same_bundle(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, "threats", TABLE, table_model)
    for name in ("one", "two"):
        with (tmp_path / name).open("wb") as file:
            write_bundle(archive, file)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_sound_bundle_opens_and_runs(bundle_dir: Path) -> None:
    bundle = open_bundle(bundle_dir)
    row = RowReader(bundle.signature).read({"duration": 0.5, "service": "http", "count": 3})
    (answer,) = Model(bundle.graph, bundle.signature).run([row])
    assert answer.prediction == "probe"
    assert answer.probabilities is not None
    assert sum(answer.probabilities) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("signature", "build"), [(VECTOR, vector_model), (NUMBER, number_model)])
def test_tensors_and_numbers_run_too(tmp_path: Path, signature: Signature, build: object) -> None:
    bundle = open_bundle(unpacked(archive_of(tmp_path / "made", "m", signature, build), tmp_path))  # type: ignore[arg-type]
    given = {"x": [0, 5, 0, 0]} if signature is VECTOR else {"a": 1.5, "b": 2}
    (answer,) = Model(bundle.graph, bundle.signature).run([RowReader(bundle.signature).read(given)])
    assert answer.prediction == ("dos" if signature is VECTOR else 3.5)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "bundle.json"])
def test_a_flipped_byte_is_refused(bundle_dir: Path, name: str) -> None:
    data = bytearray((bundle_dir / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle_dir / name).write_bytes(data)
    with pytest.raises(IntegrityFailed):
        open_bundle(bundle_dir)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "bundle.json"])
def test_a_missing_file_is_named(bundle_dir: Path, name: str) -> None:
    (bundle_dir / name).unlink()
    with pytest.raises(IntegrityFailed, match=name):
        open_bundle(bundle_dir)


@pytest.mark.parametrize(
    "change",
    [
        {"graph": "../model.onnx"},
        {"graph": "manifest.json"},
        {"model_id": "other"},
        {"signature_digest": "0" * 64},
        {"format": "zip"},
        {"format_version": 2},
        {"format_version": "1"},
    ],
)
def test_a_record_that_says_something_else_is_refused(bundle_dir: Path, change: dict[str, object]) -> None:
    about = json.loads((bundle_dir / "bundle.json").read_text())
    (bundle_dir / "bundle.json").write_text(json.dumps({**about, **change}))
    with pytest.raises(IntegrityFailed):
        open_bundle(bundle_dir)


def test_a_graph_of_another_signature_is_refused(bundle_dir: Path) -> None:
    bundle = open_bundle(bundle_dir)
    with pytest.raises(IntegrityFailed, match="can't load"):
        Model(b"no graph", bundle.signature)
    other = vector_model(bundle_dir / "vector.onnx").read_bytes()
    with pytest.raises(IntegrityFailed, match="not those of the signature"):
        Model(other, bundle.signature)


def test_a_model_that_raises_says_so(brittle_dir: Path) -> None:
    bundle = open_bundle(brittle_dir)
    model, reader = Model(bundle.graph, bundle.signature), RowReader(bundle.signature)
    assert model.run([reader.read({"a": 0})])[0].prediction == 7.0
    with pytest.raises(ModelFailed, match="the model raised"):
        model.run([reader.read({"a": 5})])


def test_a_version_without_a_graph_makes_no_bundle() -> None:
    saved = {"files": [{"path": "saved_model/saved_model.pb", "is_model": True}]}
    with pytest.raises(InvalidInput, match="SavedModel"):
        graph_of(saved, "threats 1.0.0")
    two = {"files": [{"path": f"{name}.onnx", "is_model": True} for name in "ab"]}
    with pytest.raises(InvalidInput, match="2 ONNX graphs"):
        graph_of(two, "threats 1.0.0")


def test_an_archive_that_is_damaged_makes_no_bundle(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, "threats", TABLE, table_model)
    graph = (tmp_path / "version" / "model.onnx").read_bytes()
    archive.write_bytes(archive.read_bytes().replace(graph[:200], graph[:199] + b"\0"))
    with (tmp_path / "out.zip").open("wb") as file, pytest.raises(ArchiveDamaged, match="digest"):
        write_bundle(archive, file)
