"""Honest and hostile `.keras` files: what may be kept beside a graph, and what harms whoever loads it."""

import base64
import importlib
import inspect
import io
import json
import marshal
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from services.kernel.errors import InvalidInput, TooLarge
from services.registry.untrusted import keras_archive
from services.registry.untrusted.inspection import Limits, inspect_keras
from services.registry.untrusted.keras_archive import Refused
from tests.keras_archives import archive, built_in, function, model, weights

LIMITS = Limits(memory_bytes=1 << 30, seconds=30)


def inspected(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(data)
    keras_archive.inspect(str(path))


def refused(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(Refused, match=says):
        inspected(tmp_path, data)


def test_an_honest_archive_passes(tmp_path: Path) -> None:
    text = {"assets/layers/text/vocabulary.txt": "[UNK]\nGrüße\n".encode()}
    inspected(tmp_path, archive(members=text))
    (tmp_path / "again.keras").write_bytes(archive())
    inspect_keras(tmp_path / "again.keras", LIMITS)


def test_what_keras_itself_saves_passes(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

        number, word = keras.Input((4,)), keras.Input((1,), dtype="string")
        lookup = keras.layers.StringLookup(output_mode="one_hot")
        lookup.adapt(["tcp", "udp"])
        row = keras.layers.Concatenate()([keras.layers.Normalization(mean=0.0, variance=1.0)(number), lookup(word)])
        inner = keras.Sequential([keras.layers.Dense(3, activation=keras.activations.gelu), keras.layers.Dropout(0.1)])
        row = inner(row) * 2.0 + keras.ops.sum(row, axis=1, keepdims=True)
        steps = keras.layers.TimeDistributed(keras.layers.Dense(2))(keras.ops.expand_dims(row, 1))
        answer = keras.layers.Softmax()(keras.layers.Bidirectional(keras.layers.LSTM(2))(steps))
        saved = keras.Model([number, word], answer)
        decay = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
        saved.compile(
            keras.optimizers.Adam(decay),
            loss=keras.losses.sparse_categorical_crossentropy,
            metrics=["accuracy", keras.metrics.Mean()],
        )
        saved.save(tmp_path / "model.keras")
    inspect_keras(tmp_path / "model.keras", LIMITS)


def test_the_names_that_pass_are_those_of_keras_but_for_what_runs_code() -> None:
    import keras
    from keras.src.saving.keras_saveable import KerasSaveable

    listed = {module: set(names) for module, names in keras_archive._BUILTINS["classes"].items()}
    runs_code = {"Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}
    assert not runs_code & listed["keras.layers"]
    for module, names in listed.items():
        if module in ("keras", "keras.models", "keras.src.models.functional"):
            continue
        there = vars(importlib.import_module(module))
        assert not names - set(there), f"{module} of this Keras lacks them"
        classes = {name for name, found in there.items() if inspect.isclass(found)}
        if module.startswith("keras.src.ops."):
            classes = {name for name in classes if issubclass(there[name], KerasSaveable)}
        held_back = runs_code | {"Layer", "InputSpec", "Operation", "AWQConfig", "GPTQConfig", "JVP"}
        held_back |= {"AssociativeScan", "Cond", "ForiLoop", "Map", "Scan", "Switch", "VectorizedMap", "WhileLoop"}
        assert classes - names <= held_back, f"{module} of Keras {keras.__version__} has more"


CODE = base64.b64encode(marshal.dumps((lambda x: x).__code__)).decode()
LAMBDA = built_in("Lambda", function={"class_name": "__lambda__", "config": {"value": [CODE, None, None]}})
TORCH = built_in("TorchModuleWrapper", module=base64.b64encode(pickle.dumps(print)).decode(), output_shape=None)
TFSM = built_in("TFSMLayer", filepath="/tmp/evil", call_endpoint="serve", call_training_endpoint=None)
POPEN = {"module": "subprocess", "class_name": "Popen", "config": {"args": ["id"]}, "registered_name": None}
UNSAFE = function("enable_unsafe_deserialization", "keras.config")

CARRIERS: list[tuple[str, Any]] = [
    ("CVE-2024-3660", LAMBDA),
    ("CVE-2024-3660", built_in("Dense", activation=LAMBDA["config"]["function"])),
    ("CVE-2025-1550", POPEN),
    ("CVE-2025-1550", function("system", "os")),
    ("CVE-2025-1550", function("eval", "builtins")),
    ("CVE-2025-8747", function("get_file", "keras.utils")),
    ("CVE-2025-9906", UNSAFE),
    ("CVE-2025-9906", function("enable_unsafe_deserialization", "keras.config", "enable_unsafe_deserialization")),
    ("CVE-2025-9906", function("load_model", "keras.models")),
    ("CVE-2025-49655", TORCH),
    ("CVE-2026-1462", TFSM),
    ("CVE-2025-12058", built_in("StringLookup", vocabulary="/etc/passwd")),
    ("CVE-2025-12058", built_in("IntegerLookup", vocabulary="http://169.254.169.254/latest/")),
    ("custom object", {**built_in("Dense"), "registered_name": "Mine>Dense"}),
    ("custom object", built_in("Mine", "my_package.layers")),
    ("custom object", built_in("Mine", "builtins")),
    ("custom object", {**built_in("Mine"), "module": None, "registered_name": "Mine"}),
    ("custom function", function("mine")),
    ("custom function", function("relu", "my_package")),
    ("custom function", function("relu", registered="Mine>relu")),
    ("another package", built_in("Backbone", "keras_hub.models")),
    ("a gadget of Keras", function("deserialize")),
    ("a gadget of Keras", built_in("KerasSaveable", "keras.src.saving.keras_saveable")),
    ("a gadget of Keras", built_in("Lambda", "keras.src.layers.core.lambda_layer")),
    ("an operation that calls", built_in("Map", "keras.src.ops.core")),
    ("JAX", built_in("JaxLayer", call_fn="x")),
    ("a type of TensorFlow", {"class_name": "__typespec__", "spec_name": "X", "module": "os", "config": []}),
    ("a type of TensorFlow", {"class_name": "__tensor__", "spec_name": "X", "config": {}}),
    ("no module", {"class_name": "Lambda", "config": {"function": "x"}}),
    ("no module", {"class_name": "Dense", "config": {}}),
    ("not a name", {"module": "keras.layers", "class_name": ["Dense"], "config": {}}),
    ("not a name", {"module": ["keras.layers"], "class_name": "Dense", "config": {}}),
    ("not a name", {"module": "keras.layers", "class_name": {"a": 1}, "config": {}}),
    ("not a function", {"module": "builtins", "class_name": "function", "config": {"name": "relu"}}),
]

PLACES: dict[str, Callable[[Any], Any]] = {
    "a layer": lambda found: model(found),
    "the model itself": lambda found: found,
    "a wrapped layer": lambda found: model(built_in("TimeDistributed", layer=built_in("Bidirectional", layer=found))),
    "a nested model": lambda found: model(model(model(found))),
    "an activation": lambda found: model(built_in("Dense", activation=found)),
    "an initializer": lambda found: model(built_in("Dense", kernel_initializer=found)),
    "the loss": lambda found: model(compile_config={"optimizer": "adam", "loss": found, "metrics": None}),
    "one of the metrics": lambda found: model(
        compile_config={"loss": "mse", "metrics": [[{"a": ["accuracy", found]}]]}
    ),
    "the optimizer": lambda found: model(compile_config={"optimizer": found, "loss": "mse"}),
    "the build configuration": lambda found: model(build_config={"input_shape": [None, 3], "other": found}),
    "an inbound node": lambda found: model({**built_in("Add"), "inbound_nodes": [{"args": [found], "kwargs": {}}]}),
    "a data type": lambda found: model(built_in("Dense", dtype=found)),
}


@pytest.mark.parametrize(("why", "carrier"), CARRIERS)
def test_what_carries_code_is_refused(tmp_path: Path, why: str, carrier: Any) -> None:
    refused(tmp_path, archive(model(carrier)), "it names|a path that Keras would read")


@pytest.mark.parametrize("place", list(PLACES))
@pytest.mark.parametrize("carrier", [LAMBDA, TORCH, POPEN, UNSAFE])
def test_it_is_found_wherever_it_is(tmp_path: Path, place: str, carrier: Any) -> None:
    refused(tmp_path, archive(PLACES[place](carrier)), "it names")


def test_any_depth_is_searched(tmp_path: Path) -> None:
    config = json.dumps(model(LAMBDA))
    for _ in range(200):
        config = '{"module":"keras","class_name":"Sequential","config":{"layers":[' + config + "]}}"
    refused(tmp_path, archive(config.encode()), "Lambda")
    refused(tmp_path, archive(b"[" * 200_000 + b"]" * 200_000), "not JSON")
    refused(tmp_path, archive(b'{"class_name":"Sequential","config":' + b"[" * 5000 + b"]" * 5000 + b"}"), "not JSON")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "describes no model"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"class_name":"Dense","class_name":"Lambda","module":"keras.layers","config":{}}', "twice"),
        (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_configurations_that_are_none(tmp_path: Path, config: bytes, says: str) -> None:
    refused(tmp_path, archive(config), says)


def test_only_keras_3(tmp_path: Path) -> None:
    for metadata in ({"keras_version": "2.15.0"}, {}, {"keras_version": None}):
        refused(tmp_path, archive(metadata=metadata), "Keras 3")


# the zip archive --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("../evil.txt", "/etc/passwd", "assets/../../evil.txt", "assets/..", "assets//x", "assets/.hidden", "assets/"),
        *("assets\\x", "C:\\evil", "file:x", "assets/%2e%2e/x", "evil.py", "model.weights.npz", "states.npz"),
        *("data.pkl", "CONFIG.JSON", "config.json ", "assets/" + "a" * 300, "assets/\u202etxt.x", "variables.h5"),
    ],
)
def test_members_that_no_model_has(tmp_path: Path, name: str) -> None:
    refused(tmp_path, archive(members={name: b"x"}), "none of a Keras model|twice")


def test_members_with_two_names(tmp_path: Path) -> None:
    data = archive(members={"assets/vocabulary.txt": b"x"})
    refused(tmp_path, data.replace(b"assets/vocabulary.txt", b"assets/vocabulary\0txt"), "none of a Keras model")
    at = data.index(b"config.json")
    refused(tmp_path, data[:at] + b"CONFIG.json" + data[at + 11 :], "cannot be read|differ")


def test_a_member_twice(tmp_path: Path) -> None:
    def twice(file: zipfile.ZipFile) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file.writestr("config.json", json.dumps(model(LAMBDA)))

    refused(tmp_path, archive(change=twice), "twice")


def test_links_and_special_files(tmp_path: Path) -> None:
    for mode in (0o120777, 0o020666, 0o010666, 0o140777):

        def add(file: zipfile.ZipFile, mode: int = mode) -> None:
            member = zipfile.ZipInfo("assets/link.txt")
            member.create_system, member.external_attr = 3, mode << 16
            file.writestr(member, "/etc/passwd")

        refused(tmp_path, archive(change=add), "link or a special file")


def test_encrypted_members(tmp_path: Path) -> None:
    data = bytearray(archive())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(magic) + offset
        data[at] |= 1
    refused(tmp_path, bytes(data), "encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_bombs_are_compressed_and_keras_compresses_nothing(tmp_path: Path, method: int) -> None:
    def bomb(file: zipfile.ZipFile) -> None:
        file.writestr("assets/bomb.txt", b"0" * (8 << 20), method)

    data = archive(change=bomb)
    assert len(data) < 100_000
    refused(tmp_path, data, "compressed")


def test_sizes_that_lie(tmp_path: Path) -> None:
    data = archive()
    entry = data.index(b"PK\x01\x02")
    for packed, plain in ((10, 1 << 30), (1 << 30, 1 << 30), (0, 0)):
        lying = bytearray(data)
        lying[entry + 20 : entry + 28] = struct.pack("<II", packed, plain)
        refused(tmp_path, bytes(lying), ".")
    local = bytearray(data)
    local[18:26] = struct.pack("<II", 1, 1)
    refused(tmp_path, bytes(local), "two things about itself")


def test_members_that_overlap(tmp_path: Path) -> None:
    """A zip of many entries for the same bytes (Fifield, 2019) grows without any compression."""
    data = archive(members={"assets/a.txt": b"a" * 1000})
    entry = data.rindex(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    directory = data[data.index(b"PK\x01\x02") : end]
    copies = b"".join(data[entry:end].replace(b"assets/a.txt", f"assets/{at:x}.txt".encode()) for at in range(2, 9))
    whole = data[: data.index(b"PK\x01\x02")] + directory + copies
    count = directory.count(b"PK\x01\x02") + 7
    start = data.index(b"PK\x01\x02")
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory + copies), start, 0)
    refused(tmp_path, whole + tail, "overlap|differ")


def test_something_before_between_or_behind(tmp_path: Path) -> None:
    data = archive()
    refused(tmp_path, b"GIF89a" + data, "before them")
    refused(tmp_path, data + b"x", "behind|cannot be read")
    commented = io.BytesIO(data)
    with zipfile.ZipFile(commented, "a") as file:
        file.comment = pickle.dumps(print)
    refused(tmp_path, commented.getvalue(), "behind")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"not a zip", weights()])
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path, data, "zip archive|lacks")


def test_every_cut_and_every_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    data = archive()
    for length in range(0, len(data), 97):
        refused(tmp_path, data[:length], ".")
    for at in range(0, len(data), 61):
        flipped = bytes([*data[:at], data[at] ^ 0x10, *data[at + 1 :]])
        try:
            inspected(tmp_path, flipped)
        except Refused:
            continue
        assert zipfile.ZipFile(io.BytesIO(flipped)).testzip() is None  # dates and the like


def test_assets_are_text(tmp_path: Path) -> None:
    for data in (pickle.dumps(print), b"\x80\x04", b"a\0b", b"\xff"):
        refused(tmp_path, archive(members={"assets/vocabulary.txt": data}), "not text")


# the weights ------------------------------------------------------------------------------------------------------


def external_link(file: h5py.File) -> None:
    file["layers/other"] = h5py.ExternalLink("/etc/secrets.h5", "/weights")


def soft_link(file: h5py.File) -> None:
    file["layers/other"] = h5py.SoftLink("/layers/dense")


def soft_link_out(file: h5py.File) -> None:
    file["away"] = h5py.ExternalLink("/etc/secrets.h5", "/")
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.SoftLink("/away/weights")


def hard_link_loop(file: h5py.File) -> None:
    file["layers/dense/again"] = file["layers"]


def hard_link_twice(file: h5py.File) -> None:
    file["layers/dense/vars/2"] = file["layers/dense/vars/0"]


def external_storage(file: h5py.File) -> None:
    file.create_dataset("layers/x", (1000,), "u1", external=[("/etc/passwd", 0, 1000)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource("/etc/secrets.h5", "weights", (10,))
    file.create_virtual_dataset("layers/x", layout)


def shape_bomb_chunked(file: h5py.File) -> None:
    file.create_dataset("layers/x", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")


def shape_bomb_late(file: h5py.File) -> None:
    file.create_dataset("layers/x", (1 << 40,), "f4")  # contiguous, and never written: no byte is in the file


def many_small_bombs(file: h5py.File) -> None:
    for at in range(64):
        file.create_dataset(f"layers/x{at}", (1 << 24,), "f4")


def compressed(file: h5py.File) -> None:
    file.create_dataset("layers/x", data=np.zeros(1 << 20, "f4"), compression="gzip")


def objects(file: h5py.File) -> None:
    file.create_dataset("layers/x", data=[pickle.dumps(print).hex()], dtype=h5py.string_dtype())


def opaque(file: h5py.File) -> None:
    file["layers/x"] = np.void(pickle.dumps(print))


def compound(file: h5py.File) -> None:
    file["layers/x"] = np.zeros(1, [("a", "f4"), ("b", "i4")])


def references(file: h5py.File) -> None:
    file.create_dataset("layers/x", data=[file["layers"].ref], dtype=h5py.ref_dtype)


def varying(file: h5py.File) -> None:
    file.create_dataset("layers/x", (1,), h5py.vlen_dtype(np.float32))


def empty(file: h5py.File) -> None:
    file["layers/x"] = h5py.Empty("f4")


def named_type(file: h5py.File) -> None:
    file["layers/x"] = np.dtype("f8")


def whole_model(file: h5py.File) -> None:
    file.attrs["model_config"] = json.dumps(model(LAMBDA))
    file.attrs["keras_version"] = "2.15.0"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (external_link, "another place"),
        (soft_link, "another place"),
        (soft_link_out, "another place"),
        (hard_link_loop, "twice"),
        (hard_link_twice, "twice"),
        (external_storage, "do not lie in the file"),
        (virtual, "do not lie in the file"),
        (shape_bomb_chunked, "do not lie in the file"),
        (shape_bomb_late, "does not have them"),
        (many_small_bombs, "does not have them"),
        (compressed, "do not lie in the file"),
        (objects, "not numbers"),
        (opaque, "not numbers"),
        (compound, "not numbers"),
        (references, "not numbers"),
        (varying, "not numbers"),
        (empty, "not numbers|do not lie"),
        (named_type, "neither a group nor a dataset"),
        (whole_model, "attribute"),
    ],
)
def test_weights_that_are_more_than_numbers(tmp_path: Path, change: Callable[[h5py.File], None], says: str) -> None:
    """CVE-2026-1669 (links, external storage, virtual datasets), CVE-2026-0897 (shapes), CVE-2025-9905 (a model)."""
    data = weights(change)
    assert len(data) < 400_000
    refused(tmp_path, archive(weights_h5=data), says)


def test_datasets_that_share_their_bytes_are_counted_together(tmp_path: Path) -> None:
    """Two headers that point to the same megabyte: each is in the file, both are not."""

    def two(file: h5py.File) -> None:
        file["layers/a"] = np.full(1 << 17, 7, "f8")
        file["layers/b"] = np.full(1 << 17, 9, "f8")

    data = bytearray(weights(two))
    with h5py.File(io.BytesIO(bytes(data))) as file:
        offsets = [file[f"layers/{name}"].id.get_offset() for name in "ab"]
    pointer = struct.pack("<Q", offsets[1])
    at = data.index(pointer)
    data[at : at + 8] = struct.pack("<Q", offsets[0])
    shrunk = bytes(data)
    with h5py.File(io.BytesIO(shrunk)) as file:
        assert file["layers/b"][0] == 7
    inspected(tmp_path, archive(weights_h5=shrunk))  # sharing is no harm while the file is as large as what it says
    end = struct.pack("<Q", len(data))
    cut = shrunk[: offsets[1]]
    refused(tmp_path, archive(weights_h5=cut.replace(end, struct.pack("<Q", len(cut)))), "declare|cannot|can be read")


@pytest.mark.parametrize("data", [b"", b"\x89HDF\r\n\x1a\n", b"not HDF5", weights()[:500], bytes(10_000)])
def test_weights_that_are_no_hdf5(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path, archive(weights_h5=data), "HDF5")


# the child --------------------------------------------------------------------------------------------------------


def test_the_child_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(archive(model(LAMBDA)))
    with pytest.raises(InvalidInput, match=r"model\.keras: it names 'keras\.layers\.Lambda'"):
        inspect_keras(path, LIMITS)


def test_the_child_ends_at_its_limits(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(archive())
    with pytest.raises(TooLarge, match="could not be opened within 20 MiB"):
        inspect_keras(path, Limits(memory_bytes=20 << 20, seconds=30))
