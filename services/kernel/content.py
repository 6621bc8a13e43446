"""What a file is, told by its bytes. Nothing that a loader would have to trust gets into a version.

Only the listed kinds of files are taken, and each must look like what its name says. Pickles are refused by
their content under any name, and so is whatever may wrap one (gzip, bzip2, xz, zlib, zip, HDF5): a pickle
runs code when it is read.
"""

import codecs
import json
import pickletools
from pathlib import Path

from services.kernel.errors import InvalidInput, TooLarge, UnsupportedMedia

MAX_JSON_BYTES = 64 << 20
"""Largest JSON file of a version; it is parsed whole."""

_HEAD_BYTES = 1 << 16

_WRAPPERS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x5d\x00\x00": "LZMA",
    b"\x04\x22\x4d\x18": "LZ4",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"x\x01": "zlib",
    b"x\x5e": "zlib",
    b"x\x9c": "zlib",
    b"x\xda": "zlib",
    b"PK\x03\x04": "zip",
    b"\x89HDF\r\n\x1a\n": "HDF5",
}

_CODE_OPCODES = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD"}


def is_pickle(head: bytes) -> bool:
    """Whether bytes that begin with `head` are a pickle, of any protocol. Reads opcodes and runs none."""
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    seen: set[str] = set()
    try:
        for opcode, _, _ in pickletools.genops(head):
            seen.add(opcode.name)
    except (ValueError, IndexError, UnicodeDecodeError):
        return False  # opcodes of protocol 0 and 1 are printable: most text breaks off as one
    return bool(seen & _CODE_OPCODES)


def check_content(path: Path) -> None:
    """Raise `UnsupportedMedia`, with what to do, unless the file's bytes are of the kind that its suffix
    names.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(-min(4, path.stat().st_size), 2)
        tail = file.read()
    if is_pickle(head):
        raise UnsupportedMedia(
            f"{path.name} is a pickle, which runs code when it is read: convert the model to ONNX where it "
            "was trained (skl2onnx, onnxmltools, keras.Model.export) and send that"
        )
    suffix = path.suffix.lower()
    wrapper = next((kind for magic, kind in _WRAPPERS.items() if head.startswith(magic)), None)
    if wrapper and not (suffix == ".keras" and wrapper == "zip"):
        raise UnsupportedMedia(f"{path.name} is a {wrapper} file, which may hide anything: send the plain files")
    if suffix == ".onnx":
        fits = head[:1] == b"\x08"  # ModelProto.ir_version comes first
    elif suffix == ".parquet":
        fits = head[:4] == tail == b"PAR1"
    elif suffix == ".keras":
        fits = wrapper == "zip"
    elif suffix == ".json":
        fits = _is_json(path)
    elif suffix in (".txt", ".md"):
        fits = _is_text(head)
    else:
        raise UnsupportedMedia(
            f"{path.name}: a version holds .onnx, .json, .parquet, .keras, .txt and .md files, nothing else"
        )
    if not fits:
        raise UnsupportedMedia(f"{path.name} does not hold what its name says")


def _is_text(head: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return "\0" not in decoder.decode(head, final=len(head) < _HEAD_BYTES)
    except UnicodeDecodeError:
        return False


def _is_json(path: Path) -> bool:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise TooLarge(f"{path.name} has more than {MAX_JSON_BYTES} bytes, too many for a JSON file")
    try:
        json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise InvalidInput(f"{name} is not JSON: write null")
