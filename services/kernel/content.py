"""What a file is, told by its bytes. Nothing that a loader would have to trust gets into a version.

Only the listed kinds of files are taken, and each must look like what its name says. Pickles are refused by
their content under any name, and so is whatever may wrap one (gzip, bzip2, xz, zlib, zip, HDF5), also as a file that
is two things at once: a pickle runs code when it is read.
"""

import codecs
import io
import pickletools
import warnings
from pathlib import Path
from typing import BinaryIO

import msgspec

from schemas.manifest import SAVED_MODEL_FILE
from services.kernel.errors import TooLarge, UnsupportedMedia

MAX_JSON_BYTES = 64 << 20
"""Largest JSON file of a version; it is read whole."""
MAX_TEXT_BYTES = 16 << 20
"""Largest .txt or .md file of a version; it is read whole, since a pickle may be text to its end."""
MAX_OPCODES = 200_000
"""What is a pickle for so long is one, whatever comes then."""

_HEAD_BYTES = 1 << 16
_TAIL_BYTES = (1 << 16) + 22
"""As far from its end as a zip archive may say that it is one."""
_ZIP_END = b"PK\x05\x06"
_BLOCK_BYTES = 1 << 20

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

_SAVED_MODEL_HEADS = {"saved_model.pb": b"\x08\x01\x12", "fingerprint.pb": b"\x08"}
"""How they begin: schema version 1, then a MetaGraphDef; a checksum."""
_TABLE_END = bytes.fromhex("57fb808b247547db")
"""How the index of a SavedModel's variables ends."""

_CODE_OPCODES = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD"}


def is_pickle(head: bytes) -> bool:
    """Whether bytes that begin with `head` are a pickle, of any protocol. Reads opcodes and runs none."""
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    seen: set[str] = set()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of escapes in what is no text
            for number, (opcode, _, _) in enumerate(pickletools.genops(head)):
                seen.add(opcode.name)
                if number > MAX_OPCODES:
                    return True
    except (ValueError, IndexError, UnicodeDecodeError):
        return False  # opcodes of protocol 0 and 1 are printable: most text breaks off as one
    return bool(seen & _CODE_OPCODES)


def check_content(path: Path, name: str | None = None) -> None:
    """Raise `UnsupportedMedia`, with what to do, unless the file's bytes are of the kind that its suffix
    names. `name` is what the version calls it; none: as it is called now. Memory does not depend on the file's size,
    but for JSON and text, which are bounded: `TooLarge`.
    """
    name = name or path.name
    with path.open("rb") as file:
        _check(file, name, path.stat().st_size)


def _check(file: BinaryIO, name: str, size: int) -> None:
    if SAVED_MODEL_FILE.fullmatch(name):
        if not _is_of_saved_model(name, file, size):
            raise UnsupportedMedia(f"{name} does not hold what its name says")
        return
    suffix = Path(name).suffix.lower()
    is_text = suffix in (".txt", ".md")
    if is_text and size > MAX_TEXT_BYTES:
        raise TooLarge(f"{name} has more than {MAX_TEXT_BYTES} bytes, too many for a text")
    head = file.read(MAX_TEXT_BYTES if is_text else _HEAD_BYTES)
    file.seek(-min(_TAIL_BYTES, size), io.SEEK_END)
    tail = file.read()
    file.seek(0)
    if is_pickle(head):
        raise UnsupportedMedia(
            f"{name} is a pickle, which runs code when it is read: convert the model to ONNX where it "
            "was trained (skl2onnx, onnxmltools, keras.Model.export) and send that"
        )
    wrapper = next((kind for magic, kind in _WRAPPERS.items() if head.startswith(magic)), None)
    if wrapper is None and _ends_as_zip(tail):
        wrapper = "zip"
    if wrapper and not (suffix == ".keras" and wrapper == "zip"):
        raise UnsupportedMedia(f"{name} is a {wrapper} file, which may hide anything: send the plain files")
    if suffix == ".onnx":
        fits = head[:1] == b"\x08"  # ModelProto.ir_version comes first
    elif suffix == ".parquet":
        footer_bytes = int.from_bytes(tail[-8:-4], "little")
        fits = head[:4] == tail[-4:] == b"PAR1" and size > 12 and 0 < footer_bytes <= size - 12
    elif suffix == ".keras":
        fits = wrapper == "zip" and head.startswith(b"PK\x03\x04")
    elif suffix == ".json":
        if size > MAX_JSON_BYTES:
            raise TooLarge(f"{name} has more than {MAX_JSON_BYTES} bytes, too many for a JSON file")
        fits = _is_text(file) and _is_json(file)
    elif is_text:
        fits = _is_text(file)
    else:
        raise UnsupportedMedia(
            f"{name}: a version holds .onnx, .json, .parquet, .keras, .txt and .md files, or a TensorFlow SavedModel, "
            "nothing else"
        )
    if not fits:
        raise UnsupportedMedia(f"{name} does not hold what its name says")


def _is_of_saved_model(name: str, file: BinaryIO, size: int) -> bool:
    """Whether a file of a SavedModel looks like one. The numbers of its variables may be any bytes: nothing but
    TensorFlow reads them, by the index, and the registry's inspection counts them."""
    if name in _SAVED_MODEL_HEADS:
        head = _SAVED_MODEL_HEADS[name]
        return file.read(len(head)) == head
    if name.endswith(".index"):
        file.seek(max(size - len(_TABLE_END), 0))
        return file.read() == _TABLE_END
    return True


def _ends_as_zip(tail: bytes) -> bool:
    """Whether a file that ends with `tail` is a zip archive to whoever looks for one from the end."""
    at = tail.rfind(_ZIP_END)
    return 0 <= at <= len(tail) - 22 and at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") >= len(tail)


def _is_text(file: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := file.read(_BLOCK_BYTES):
            if b"\0" in block:
                return False
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _is_json(file: BinaryIO) -> bool:
    file.seek(0)
    try:
        msgspec.json.decode(file.read(), type=msgspec.Raw)  # checks the syntax and builds nothing
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
