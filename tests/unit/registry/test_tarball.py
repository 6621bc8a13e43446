"""The strict tar reader: what tarfile and tar write is read, everything else is refused with a sentence."""

import gzip
import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.errors import InvalidInput
from services.registry.arrivals.tarball import BLOCK, TarReader


class Kept:
    """A sink that keeps what comes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._name = ""
        self._data = bytearray()
        self._size = 0

    def begin(self, name: str, size: int) -> None:
        self._name, self._size, self._data = name, size, bytearray()

    def write(self, data: memoryview) -> None:
        self._data += data

    def end(self) -> None:
        assert len(self._data) == self._size
        self.files[self._name] = bytes(self._data)


def read(archive: bytes, step: int = 1 << 20, max_members: int = 1000) -> dict[str, bytes]:
    sink = Kept()
    reader = TarReader(sink, max_members)
    for start in range(0, len(archive), step):
        reader.feed(archive[start : start + step])
    reader.finish()
    return sink.files


def written(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT, mtime: float = 1.5) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), mtime
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


FILES = {"metadata.json": b"{}", "model.onnx": b"\x08" * 1000, "notes/README.md": b"", "x" * 150: b"y" * BLOCK}


@pytest.mark.parametrize("step", [1, 7, BLOCK, 1 << 20])
def test_what_tarfile_writes_is_read(step: int) -> None:
    assert read(written(FILES), step) == FILES


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_other_formats_of_short_names(format: int) -> None:
    files = {name: data for name, data in FILES.items() if len(name) < 100}
    assert read(written(files, format)) == files


@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9_.]{0,20}", fullmatch=True), st.binary(max_size=2000), max_size=5),
    st.integers(1, 3000),
)
def test_any_files_in_any_pieces(files: dict[str, bytes], step: int) -> None:
    assert read(written(files), step) == files


def test_folders_are_passed_over() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("notes")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    assert read(buffer.getvalue()) == {}


def special(kind: bytes, name: str = "model.onnx") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "target"
        archive.addfile(member)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"6", b"7", b"S", b"Z"])
def test_only_plain_files(kind: bytes) -> None:
    with pytest.raises(InvalidInput, match="plain files"):
        read(special(kind))


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "././x", "./", "x/./y", "a//b", "a\\b", ".hidden", "a/../b", "naïve", "a b", "d/"]
)
def test_names_that_may_not_be(name: str) -> None:
    for format in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT):
        with pytest.raises(InvalidInput):
            read(written({name: b"x"}, format))


def patched(archive: bytes, at: int, data: bytes) -> bytes:
    return archive[:at] + data + archive[at + len(data) :]


def with_checksum(archive: bytes) -> bytes:
    head = patched(archive[:BLOCK], 148, b" " * 8)
    return patched(archive, 148, b"%06o\0 " % sum(head))


PLAIN = written({"a": b"x"}, tarfile.USTAR_FORMAT, 1)

BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "cut off"),
    "cut in a header": (lambda: PLAIN[:100], "cut off"),
    "cut in a file": (lambda: PLAIN[:BLOCK], "cut off"),
    "without its end": (lambda: PLAIN[: 2 * BLOCK], "cut off"),
    "half its end": (lambda: PLAIN[: 3 * BLOCK], "cut off"),
    "something after the end": (lambda: PLAIN + b"x" * BLOCK, "after its end"),
    "a wrong checksum": (lambda: patched(PLAIN, 0, b"b"), "checksum"),
    "no magic": (lambda: with_checksum(patched(PLAIN, 257, bytes(8))), "not a tar archive"),
    "a size that is no number": (lambda: with_checksum(patched(PLAIN, 124, b"99999999999\0")), "no number"),
    "NUL in a name": (lambda: with_checksum(patched(PLAIN, 0, b"a\0b")), "NUL"),
    "a file twice": (lambda: written({"a": b"x"})[: 4 * BLOCK] + written({"a": b"y"}), "twice"),
    "gzip": (lambda: b"\x1f\x8b" + bytes(1000), "gzip"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_archives(name: str) -> None:
    make, says = BROKEN[name]
    with pytest.raises(InvalidInput, match=says):
        read(make())


def pax(records: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a")
        member.pax_headers = records
        archive.addfile(member)
    return buffer.getvalue()


@pytest.mark.parametrize("key", ["GNU.sparse.major", "linkpath", "SCHILY.xattr.user.x", "hdrcharset"])
def test_extended_headers_that_change_what_a_file_is(key: str) -> None:
    with pytest.raises(InvalidInput, match="not read"):
        read(pax({key: "1"}))


def test_an_extended_size_is_obeyed_or_refused() -> None:
    for size in ("-1", "9" * 20, "9" * 5000, "٣"):
        with pytest.raises(InvalidInput, match="no number of at most 19 digits"):
            read(pax({"size": size}))
    with pytest.raises(InvalidInput, match="cut off"):
        read(pax({"size": str(1 << 40)}))


def test_a_global_header_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}):
        pass
    with pytest.raises(InvalidInput, match="global header"):
        read(buffer.getvalue())


def test_members_are_counted() -> None:
    with pytest.raises(InvalidInput, match="more than 3"):
        read(written(FILES, mtime=1), max_members=3)


def test_a_point_before_a_name_is_passed_over() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        here = tarfile.TarInfo(".")
        here.type = tarfile.DIRTYPE
        archive.addfile(here)
        member = tarfile.TarInfo("./metadata.json")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"{}"))
    assert read(buffer.getvalue()) == {"metadata.json": b"{}"}
    with pytest.raises(InvalidInput, match="twice"):
        read(written({"a": b"1", "./a": b"2"}))


@pytest.mark.parametrize("data", [b"onnx", b"\x08" * 2000])
def test_what_is_no_archive_is_called_so(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a tar archive"):
        read(data)


def test_a_compressed_archive_is_called_so() -> None:
    with pytest.raises(InvalidInput, match="gzip"):
        read(gzip.compress(written(FILES)))
    with pytest.raises(InvalidInput, match="cut off"):
        read(written(FILES)[:600])
