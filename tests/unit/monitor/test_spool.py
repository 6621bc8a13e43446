"""The spool: what was saved is found, what was not is overwritten."""

from pathlib import Path

import pytest

from services.kernel.errors import IntegrityFailed
from services.monitor.spool import Spool


def test_blocks_are_read_back_across_segments(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=10)
    spool.open(0, 0, 0)
    payloads = [b"12345", b"6789012", b"x", b"yz"]
    places = [spool.append(0, [payload])[0] for payload in payloads]
    assert [spool.read(place) for place in places] == payloads
    assert {place.segment for place in places} == {0, 1}
    assert [(partition, segment) for _, _, partition, segment in spool.files()] == [(0, 0)]


def test_what_was_never_counted_is_cut_off(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=10)
    spool.open(3, 0, 0)
    (saved,) = spool.append(3, [b"saved"])
    spool.append(3, [b"lost"])
    spool.append(3, [b"beyond", b"more"])
    again = Spool(tmp_path, segment_bytes=10)
    again.open(3, 0, 5)
    (after,) = again.append(3, [b"new"])
    assert (after.segment, after.position) == (0, 5)
    assert again.read(saved) == b"saved"
    assert again.read(after) == b"new"
    assert [path.name for path in tmp_path.glob("*.seg")] == ["3-0.seg"]


def test_a_lost_file_is_told_and_does_not_stop_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=100)
    spool.open(0, 0, 0)
    (place,) = spool.append(0, [b"gone"])
    (tmp_path / "0-0.seg").unlink()
    with pytest.raises(IntegrityFailed):
        spool.read(place)
    again = Spool(tmp_path, segment_bytes=100)
    again.open(0, 0, 4)
    assert again.append(0, [b"on"])[0].segment == 1
