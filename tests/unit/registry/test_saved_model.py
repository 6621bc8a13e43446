"""Hostile and honest SavedModels in the capped child."""

import json
from pathlib import Path

import pytest

from schemas.features import DType, OutputRole
from services.kernel.content import check_content
from services.kernel.errors import InvalidInput, TooLarge, UnsupportedMedia
from services.registry.untrusted import saved_model
from services.registry.untrusted.inspection import Limits, infer_signature, inspect_saved_model
from tests import hostile_saved_models

pytestmark = pytest.mark.timeout(300)  # processes with TensorFlow, which take seconds to start

LIMITS = Limits(memory_bytes=4 << 30, seconds=120)


OPERATORS = (
    "DecodeProtoV2",
    "EagerPyFunc",
    "ImmutableConst",
    "MatchingFiles",
    "PrintV2",
    "PyFunc",
    "ReadFile",
    "RestoreV2",
    "SaveV2",
    "WriteFile",
)
REASONS = {
    **{name: f"holds the operator '{name}', which is none of those that only compute" for name in OPERATORS},
    "TextLineDataset": "which is none of those that only compute",
    "calls-saver": "'__inference__traced_save_",
    "graph-calls-saver": "'__inference__traced_save_",
    "listed": "calls 'WriteFile', which is no function of the model",
    "primitive": "calls 'WriteFile', which is no function of the model",
    "shadow": "its function 'ReadFile' is called like an operator of TensorFlow",
    "sleeper": "its function 'sleeper' holds the operator 'ReadFile'",
    "unknown": "holds the operator 'MyOwnOp'",
    "resource": "holds a resource as a constant",
    "first": "it is of TensorFlow 1",
    "two": "it must hold one graph",
    "nameless": "it has no signature serving_default",
    "noise": "the file is not a SavedModel",
    "words": "it reads the file 'words.txt' when it is loaded",
    "cut": "its variables cannot be read",
    "padded": "its variables have 100",
    "no-variables": "its variables are missing",
}


def test_every_hostile_savedmodel_is_refused_by_name(hostile: Path) -> None:
    said = json.loads(hostile_saved_models.run("check", hostile).splitlines()[-1])
    assert said.pop("plain") is None
    assert said.keys() == REASONS.keys()
    assert {name: reason for name, reason in said.items() if REASONS[name] not in (reason or "")} == {}


def test_a_refusal_of_the_child_names_the_operator(hostile: Path) -> None:
    with pytest.raises(InvalidInput, match="operator 'ReadFile'"):
        inspect_saved_model(hostile / "ReadFile" / "saved_model.pb", LIMITS)


def test_the_interface_of_an_honest_one_is_read(saved: Path) -> None:
    interface = inspect_saved_model(saved / "vector" / "saved_model.pb", LIMITS)
    signature = infer_signature(interface, ("normal", "dos", "probe"))
    assert [(f.name, f.dtype, f.shape) for f in signature.inputs] == [("x", DType.FLOAT32, (4,))]
    assert [(o.name, o.role) for o in signature.outputs] == [("probabilities", OutputRole.PROBABILITIES)]


def test_one_that_asks_for_too_much_ends_its_child_alone(saved: Path) -> None:
    with pytest.raises((InvalidInput, TooLarge), match=r"memory|could not be opened|cannot|not a SavedModel"):
        inspect_saved_model(saved / "vector" / "saved_model.pb", Limits(memory_bytes=1 << 30, seconds=60))


def test_the_list_holds_nothing_that_reaches_out() -> None:
    reaches = ("File", "Read", "Write", "Save", "Restore", "PyFunc", "Dataset", "Iterator", "Print", "Remote", "Rpc")
    harmless = {
        "DisableCopyOnRead",
        "ReadVariableOp",
        "TensorArrayReadV2",
        "TensorArrayReadV3",
        "TensorArrayWriteV2",
        "TensorArrayWriteV3",
    }
    found = {name for name in saved_model.OPERATORS if any(word in name for word in reaches)}
    assert found == harmless
    assert not saved_model.SAVER_OPERATORS & saved_model.OPERATORS


@pytest.mark.parametrize(
    ("name", "data", "fits"),
    [
        ("saved_model.pb", b"\x08\x01\x12\x00", True),
        ("saved_model.pb", b"\x80\x04\x95pickle", False),
        ("fingerprint.pb", b"\x08\x01", True),
        ("fingerprint.pb", b"PK\x03\x04", False),
        ("variables/variables.index", b"\x00" * 40 + bytes.fromhex("57fb808b247547db"), True),
        ("variables/variables.index", b"", False),
        ("variables/variables.data-00000-of-00001", b"\x80\x04anything", True),
        ("variables/variables.data-0-of-1", b"\x00", False),
        ("other/saved_model.pb", b"\x08\x01\x12\x00", False),
        ("keras_metadata.pb", b"\x08\x01\x12\x00", False),
    ],
)
def test_files_look_like_what_their_names_say(tmp_path: Path, name: str, data: bytes, fits: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    if fits:
        check_content(path, name)
        return
    with pytest.raises(UnsupportedMedia):
        check_content(path, name)
