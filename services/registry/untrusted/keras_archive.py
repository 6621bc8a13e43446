"""Look into a `.keras` file of unknown origin. Run as a script, in a process of its own with capped memory and time.

Like `graph.py` it reads one line, `[MODEL.keras, MEMORY_BYTES, CPU_SECONDS]`, and prints `{}` or
`{"refused": "a sentence"}`. Nothing of the platform ever loads such a file; it is kept beside the graph for whoever
does, and must be harmless to them with any version of Keras. So nothing here asks Keras, nothing is built and nothing
is executed: the archive must be one that Keras 3 writes (stored members, nothing between or behind them), its
configuration may name only the layers, losses, metrics, optimizers and operations that come with Keras
(`keras_builtins.json`), and its weights may be only dense numbers that lie in the file.

What that keeps out: Lambda layers and whatever else carries code (CVE-2024-3660), objects and functions of other
modules, or of Keras but not for models (CVE-2025-1550, CVE-2025-9906), models in HDF5 (CVE-2025-9905),
TorchModuleWrapper (CVE-2025-49655), TFSMLayer (CVE-2026-1462), lookup layers whose vocabulary is a path
(CVE-2025-12058), datasets that declare more than the file holds (CVE-2026-0897) or lie in other files (CVE-2026-1669).
"""

import io
import json
import re
import resource
import stat
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_MEMBERS = 10_000
MAX_JSON_BYTES = 64 << 20
MAX_OBJECTS = 100_000
"""Groups and datasets of the weights."""

_ASSET = re.compile(r"assets(/[A-Za-z0-9_][A-Za-z0-9_.@=+,~-]{0,199}){1,20}")
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_END_BYTES = 22
_WITHOUT_MODULE = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}
_BUILTINS = json.loads(Path(__file__).with_name("keras_builtins.json").read_text("utf-8"))
_CLASSES = {(module, name) for module, names in _BUILTINS["classes"].items() for name in names}
_FUNCTIONS = frozenset(_BUILTINS["functions"])
_FUNCTION_MODULES = {"builtins", "keras.activations", "keras.losses", "keras.metrics"}


class Refused(Exception):
    """The file must not be kept; the text says why."""


def brief(text: object) -> str:
    """`text` quoted, short enough for a sentence."""
    return repr(text)[:80]


# the archive ------------------------------------------------------------------------------------------------------


def check_members(archive: zipfile.ZipFile, file: IO[bytes], size: int) -> None:
    """Raise `Refused` unless the archive holds what Keras writes, as Keras writes it. Reads every byte (CRC)."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    if len(members) > MAX_MEMBERS:
        raise Refused(f"it has {len(members)} members; {MAX_MEMBERS} are enough for any model")
    names = [member.filename for member in members]
    if len({name.casefold() for name in names}) < len(names):
        raise Refused("it names a member twice")
    absent = {CONFIG, METADATA, WEIGHTS} - set(names)
    if absent:
        raise Refused(f"it lacks {', '.join(sorted(absent))}: save the model with Keras 3, model.save('model.keras')")
    position = 0
    for member in members:
        check_member(member)
        if member.header_offset < position or (position == 0 and member.header_offset != 0):
            raise Refused("its members overlap, or something lies before them")
        position = check_local_header(member, file) + member.file_size
        with archive.open(member) as data:
            while data.read(1 << 20):
                pass
    file.seek(max(size - _END_BYTES, 0))
    end = file.read(_END_BYTES)
    if position > archive.start_dir or not end.startswith(b"PK\x05\x06") or not end.endswith(b"\0\0"):
        raise Refused("something lies behind its members")


def check_member(member: zipfile.ZipInfo) -> None:
    """Raise `Refused` for a name, a kind or a compression that Keras does not write."""
    name, mode = member.filename, member.external_attr >> 16
    if member.orig_filename != name or (name not in (CONFIG, METADATA, WEIGHTS) and not _ASSET.fullmatch(name)):
        raise Refused(f"its member {brief(member.orig_filename)} is none of a Keras model")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise Refused(f"its member {brief(name)} is a link or a special file")
    if member.compress_type != zipfile.ZIP_STORED or (
        member.compress_size != member.file_size and not member.flag_bits & 1
    ):
        raise Refused(f"its member {brief(name)} is compressed, which Keras never does: save the model again")
    if member.flag_bits & ~0x0808:  # bit 3: sizes follow the data; bit 11: the name is UTF-8
        raise Refused(f"its member {brief(name)} is encrypted or patched")


def check_local_header(member: zipfile.ZipInfo, file: IO[bytes]) -> int:
    """Where the member's data begin. Raises `Refused` if its own header contradicts the directory's."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        raise Refused("it is cut off")
    _, _, flags, method, _, _, _, packed, plain, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
    known = {member.file_size, 0xFFFFFFFF} | ({0} if flags & 8 else set())
    if flags != member.flag_bits or method != member.compress_type or not {packed, plain} <= known:
        raise Refused(f"its member {brief(member.filename)} says two things about itself")
    return int(member.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes)


def check_text(name: str, data: bytes) -> None:
    """Raise `Refused` unless an asset (a vocabulary) is text."""
    try:
        if "\0" in data.decode():
            raise Refused(f"its asset {brief(name)} is not text")
    except UnicodeDecodeError as error:
        raise Refused(f"its asset {brief(name)} is not text") from error


# the configuration ------------------------------------------------------------------------------------------------


def read_json(name: str, data: bytes) -> dict[str, Any]:
    """A member that is one JSON object. Raises `Refused`, also for a name that an object has twice."""
    if len(data) > MAX_JSON_BYTES:
        raise Refused(f"its {name} has more than {MAX_JSON_BYTES} bytes")
    try:
        document = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Refused(f"its {name} is not JSON that can be read") from error
    if not isinstance(document, dict):
        raise Refused(f"its {name} is no JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise Refused("its JSON names a member twice")
    return document


def objects_of(document: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in `document`, at any depth."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def check_config(config: Any) -> None:
    """Raise `Refused` for the first object that names something which does not come with Keras, or is not harmless."""
    for document in objects_of(config):
        if "class_name" in document or "registered_name" in document or "spec_name" in document:
            check_reference(document)
        if isinstance(document.get("vocabulary"), str):
            raise Refused(
                f"its vocabulary {brief(document['vocabulary'])} is a path that Keras would read: give the words"
            )


def check_reference(document: dict[str, Any]) -> None:
    """Raise `Refused` unless a serialized object is one that comes with Keras."""
    module, name = document.get("module"), document.get("class_name")
    registered, inner = document.get("registered_name"), document.get("config")
    shown = brief(f"{module}.{name}" if module else name)
    if not isinstance(name, str) or not isinstance(module, str | None):
        raise Refused(f"it names {shown}, which is no name")
    if name == "function":
        if (
            not isinstance(inner, str)
            or module not in _FUNCTION_MODULES
            or inner not in _FUNCTIONS
            or registered not in (None, name, inner)
        ):
            raise Refused(f"it names the function {brief(inner)} of {brief(module)}, which is none of a Keras model")
    elif module is None and "spec_name" not in document and name in _WITHOUT_MODULE:
        if registered is not None:
            raise Refused(f"it names {brief(registered)} as {shown}")
    elif module is None and name != "__lambda__":
        raise Refused(f"it names {shown} without its module: save the model with Keras 3, model.save('model.keras')")
    elif (module, name) not in _CLASSES or registered not in (None, name):
        raise Refused(
            f"it names {shown}, which is not one of the layers, losses, metrics, optimizers and operations that come "
            "with Keras and hold no code: keep custom objects out of what you register, the ONNX graph has them"
        )


# the weights ------------------------------------------------------------------------------------------------------


class Window(io.RawIOBase):
    """`size` bytes of a file from `start`, as a file."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._position)
        data = self._file.read(max(min(len(buffer), self._size - self._position), 0))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def check_weights(file: Window, size: int) -> None:
    """Raise `Refused` unless the HDF5 file is a tree of dense numbers that all lie in it."""
    import h5py

    try:
        with h5py.File(file, "r") as root:
            _check_tree(h5py, root, size)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise Refused(f"its weights are not HDF5 that can be read: {' '.join(str(error).split())[:200]}") from error


def _check_tree(h5py: Any, root: Any, size: int) -> None:
    waiting, seen, declared_bytes = [root], {h5py.h5o.get_info(root.id).addr}, 0
    while waiting:
        group = waiting.pop()
        _check_attributes(group)
        if len(group) > MAX_OBJECTS:
            raise Refused(f"its weights have more than {MAX_OBJECTS} groups and datasets")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise Refused(f"its weights link {brief(name)} to another place: such a link may leave the file")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise Refused(f"its weights hold {brief(name)} twice")
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise Refused(f"its weights have more than {MAX_OBJECTS} groups and datasets")
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                declared_bytes += _check_dataset(h5py, name, item, size)
            else:
                raise Refused(f"its weights hold {brief(name)}, which is neither a group nor a dataset")
            if declared_bytes > size:
                raise Refused(f"its weights declare more than the {size} bytes that they have")


def _check_dataset(h5py: Any, name: str, dataset: Any, size: int) -> int:
    """The bytes that a dataset declares. Raises `Refused` unless they are numbers that lie in the file, as they are."""
    plan = dataset.id.get_create_plist()
    if plan.get_external_count() or plan.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise Refused(f"its weights {brief(name)} do not lie in the file as they are (external, virtual or in chunks)")
    if dataset.shape is None or dataset.dtype.kind not in "biuf" or dataset.dtype.hasobject:
        raise Refused(f"its weights {brief(name)} are not numbers")
    _check_attributes(dataset)
    declared = int(dataset.dtype.itemsize)
    for length in dataset.shape:
        declared *= int(length)
    if declared > size or (declared and dataset.id.get_storage_size() != declared):
        raise Refused(f"its weights {brief(name)} declare {declared} bytes, and the file does not have them")
    offset = dataset.id.get_offset()
    if offset is not None and offset + declared > size:
        raise Refused(f"its weights {brief(name)} lie beyond the end of the file")
    return declared


def _check_attributes(item: Any) -> None:
    odd = sorted(set(item.attrs) - {"name", "dtype"})
    if odd:  # model_config and training_config: a whole model of the HDF5 format, for which Keras has no safe mode
        raise Refused(f"its weights have the attribute {brief(odd[0])}, which Keras 3 does not write")


def inspect(path: str) -> None:
    """Raise `Refused` unless the `.keras` file at `path` is harmless."""
    size = Path(path).stat().st_size
    try:
        with Path(path).open("rb") as file, zipfile.ZipFile(file) as archive:
            check_members(archive, file, size)
            for member in archive.infolist():
                if member.filename.startswith("assets/"):
                    check_text(member.filename, archive.read(member))
            metadata = read_json(METADATA, archive.read(METADATA))
            if not str(metadata.get("keras_version")).startswith("3."):
                raise Refused("it is not of Keras 3: save the model with Keras 3, model.save('model.keras')")
            config = read_json(CONFIG, archive.read(CONFIG))
            if "class_name" not in config:
                raise Refused(f"its {CONFIG} describes no model")
            check_config(config)
            weights = archive.getinfo(WEIGHTS)
            check_weights(Window(file, check_local_header(weights, file), weights.file_size), weights.file_size)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise Refused(f"it is not a zip archive that can be read: {' '.join(str(error).split())[:200]}") from error


def main(path: str, memory_bytes: int, cpu_seconds: int) -> None:
    """Cap this process, inspect, print."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer: dict[str, str] = {}
    try:
        inspect(path)
    except Refused as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": "it asks for more memory than the inspection allows"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(*json.loads(sys.stdin.readline()))
