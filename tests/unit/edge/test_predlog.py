"""The log at the edge: what was answered is there, however the process or the disk ends."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.edge.conftest import IDENTITY
from trimtab.edge.runner import predlog
from trimtab.edge.runner.backlog import DAMAGED, SHED, Gap, Load, acknowledge, discard_if_over, next_load
from trimtab.edge.runner.errors import Unavailable, WrongUse
from trimtab.edge.runner.predlog import PredictionLog, end_of
from trimtab.edge.runner.segments import Document, life_of, lives, segments, used_bytes


def opened(log_dir: Path, **options: object) -> PredictionLog:
    return PredictionLog(log_dir, IDENTITY, **options)  # type: ignore[arg-type]


def row(number: int) -> Document:
    return {"input": {"x": number}}


def rows_of(load: Load | None) -> list[int]:
    assert load is not None
    return [each["n"] for each in load.rows]


def waiting(folder: Path, start: int = 0, rows: int = 1000) -> Load | None:
    return next_load(folder, start, max_rows=rows, max_bytes=1 << 20)


def only_life(log_dir: Path) -> Path:
    (folder,) = lives(log_dir)
    return folder


def test_numbers_go_on_where_they_ended(log_dir: Path) -> None:
    log = opened(log_dir)
    assert [log.append([row(0)]), log.append([row(1), row(2)]), log.append([row(3)])] == [0, 1, 3]
    log.close()
    again = opened(log_dir)
    assert again.incarnation == log.incarnation
    assert again.append([row(4)]) == 4
    load = waiting(only_life(log_dir))
    assert rows_of(load) == [0, 1, 2, 3, 4]
    assert load is not None
    assert [each["input"]["x"] for each in load.rows] == [0, 1, 2, 3, 4]


def test_two_processes_write_two_lives(log_dir: Path) -> None:
    first, second = opened(log_dir), opened(log_dir)
    assert first.incarnation != second.incarnation
    assert (first.append([row(0)]), second.append([row(0)])) == (0, 0)
    second.close()
    assert opened(log_dir).incarnation == second.incarnation


@pytest.mark.parametrize(
    "other", [{"machine": "m2"}, {"manifest_digest": "c" * 64}, {"replica": "gate-8"}, {"version": "1.0.1"}]
)
def test_another_version_or_machine_does_not_go_on_with_the_numbers(log_dir: Path, other: dict[str, str]) -> None:
    log = opened(log_dir)
    log.append([row(0)])
    log.close()
    assert PredictionLog(log_dir, replace(IDENTITY, **other)).incarnation != log.incarnation


@pytest.mark.parametrize("torn", [b"0", b"00000000 {", b'12345678 {"n":1,"input":{"x":'])
def test_a_torn_tail_is_dropped(log_dir: Path, torn: bytes) -> None:
    log = opened(log_dir)
    log.append([row(0)])
    log.close()
    with segments(only_life(log_dir))[-1][1].open("ab") as file:
        file.write(torn)
    again = opened(log_dir)
    assert (again.incarnation, again.append([row(1)])) == (log.incarnation, 1)
    assert rows_of(waiting(only_life(log_dir))) == [0, 1]


def test_a_damaged_line_in_the_middle_is_a_gap_and_the_rest_is_there(log_dir: Path) -> None:
    log = opened(log_dir)
    for number in range(5):
        log.append([row(number)])
    path = segments(only_life(log_dir))[-1][1]
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"x":2', b'"x":7'))
    folder = only_life(log_dir)
    assert rows_of(waiting(folder)) == [0, 1]
    load = waiting(folder, 2)
    assert rows_of(load) == [3, 4]
    assert load is not None
    assert (load.gaps, load.first_sequence, load.end) == ([Gap(2, 1, DAMAGED)], 3, 5)
    assert waiting(folder, 5) is None
    assert log.append([row(5)]) == 5


@pytest.mark.parametrize("damage", ["line", "newline"])
def test_a_damaged_end_ends_the_life_and_no_number_is_given_twice(log_dir: Path, damage: str) -> None:
    log = opened(log_dir)
    for number in range(3):
        log.append([row(number)])
    log.close()
    folder = only_life(log_dir)
    path = segments(folder)[-1][1]
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"x":2', b'"x":7') if damage == "line" else data[:-1] + b"?")
    assert end_of(folder) is None
    assert opened(log_dir).incarnation != log.incarnation
    assert rows_of(waiting(folder)) == [0, 1]
    rest = waiting(folder, 2)
    if damage == "line":
        assert rest is not None
        assert rest.gaps == [Gap(2, 1, DAMAGED)]
        assert waiting(folder, rest.end) is None
    life = life_of(folder)
    assert life is not None
    acknowledge(folder, 3)
    assert discard_if_over(folder, life, IDENTITY)
    assert folder not in lives(log_dir)


def test_full_and_reject_refuses_until_the_gateway_has_taken_some(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predlog, "MEASURE_SECONDS", 0.0)
    log = opened(log_dir, budget_bytes=64 << 10)
    written = 0

    def fill() -> None:
        nonlocal written
        while True:
            log.append([row(written)])
            written += 1

    with pytest.raises(Unavailable, match="budget"):
        fill()
    assert used_bytes(log_dir) <= 64 << 10
    assert len(segments(only_life(log_dir))) > 2
    acknowledge(only_life(log_dir), written)
    log.admit()
    assert log.append([row(written)]) == written
    assert rows_of(waiting(only_life(log_dir), written)) == [written]


def test_full_and_shed_answers_and_tells_the_gap(log_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predlog, "MEASURE_SECONDS", 0.0)
    log = opened(log_dir, budget_bytes=64 << 10, policy="shed")
    while not log.shed_rows:
        last = log.append([row(0)])
    log.append([row(0), row(0)])
    assert log.shed_rows == 3
    folder = only_life(log_dir)
    acknowledge(folder, last)
    assert waiting(folder, last) == Load(last + 3, [], [Gap(last, 3, SHED)])
    assert log.append([row(1)]) == last + 3
    load = waiting(folder, last)
    assert rows_of(load) == [last + 3]
    assert load is not None
    assert [(gap.first_sequence, gap.rows) for gap in load.gaps] == [(last, 3)]
    assert "budget" in load.gaps[0].reason


def test_numbers_of_shed_rows_are_not_given_again_after_a_kill(log_dir: Path) -> None:
    log = opened(log_dir, budget_bytes=64 << 10, policy="shed")
    while not log.shed_rows:
        last = log.append([row(0)])
    log.append([row(0)] * 7)
    os.close(log._lock_fd)  # as the kernel does it when the process dies
    again = opened(log_dir)
    assert again.incarnation == log.incarnation
    assert again.append([row(1)]) == last + 8
    load = waiting(only_life(log_dir), last)
    assert load is not None
    assert [(gap.first_sequence, gap.rows) for gap in load.gaps] == [(last, 8)]


def test_a_disk_that_refuses_leaves_no_trace_of_the_row(log_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(log_dir)
    log.append([row(0)])
    real = os.pwrite

    def half(fd: int, data: bytes, offset: int) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[: len(data) // 2], offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", half)
        with pytest.raises(Unavailable, match="No space left"):
            log.append([row(1)])
    assert log.append([row(2)]) == 1
    load = waiting(only_life(log_dir))
    assert load is not None
    assert [each["input"]["x"] for each in load.rows] == [0, 2]


def test_refused_requests_travel_with_the_next_row(log_dir: Path) -> None:
    log = opened(log_dir)
    log.refused(["duration", "service"])
    log.refused(["duration"])
    log.append([row(0)])
    log.refused(["count"])
    log.close()
    again = opened(log_dir)
    again.append([row(1)])
    folder = only_life(log_dir)
    load = waiting(folder)
    assert load is not None
    assert load.refused == {"duration": 2, "service": 1, "count": 1}
    later = waiting(folder, 1)
    assert later is not None
    assert later.refused == {"count": 1}


def test_what_is_acknowledged_is_deleted_but_for_the_segment_that_is_written(log_dir: Path) -> None:
    log = opened(log_dir, budget_bytes=64 << 10)
    for number in range(500):
        log.append([row(number)])
    folder = only_life(log_dir)
    before = len(segments(folder))
    load = waiting(folder, rows=400)
    assert rows_of(load) == list(range(400))
    acknowledge(folder, 400)
    assert len(segments(folder)) < before
    assert rows_of(waiting(folder, 400)) == list(range(400, 500))
    acknowledge(folder, 500)
    assert len(segments(folder)) == 1
    life = life_of(folder)
    assert life is not None
    assert not discard_if_over(folder, life, IDENTITY), "it is written"
    log.close()
    assert not discard_if_over(folder, life, IDENTITY), "another process may go on with it"
    assert discard_if_over(folder, life, replace(IDENTITY, version="2.0.0"))


def test_a_folder_that_is_none_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WrongUse, match="can't be used"):
        opened(tmp_path / "file")
