"""Who ships what a dead process left behind, and what a worker is called."""

from pathlib import Path

import pytest

from services.serving.segments import LogName, Segment, orphans
from services.serving.settings import ServingSettings
from trimtab.local.settings import LocalSettings


def worker(number: int | None, count: int = 3) -> ServingSettings:
    ports = ",".join(str(40_000 + i) for i in range(count)) if number is not None else ""
    return ServingSettings(serving_replica="host", serving_worker=number, serving_worker_ports=ports)


def test_workers_have_names_of_their_own_however_long_the_hosts_is() -> None:
    assert [worker(i).replica for i in (None, 0, 2)] == ["host", "host-w0", "host-w2"]
    long = ServingSettings(serving_replica="h" * 128, serving_worker=11, serving_worker_ports="1,2")
    assert (len(long.replica), long.replica[-5:]) == (128, "h-w11")


@pytest.mark.parametrize("left_by", ["host-w0", "host-w1", "host-w2", "host-w7", "host", "another"])
def test_each_log_has_one_heir(left_by: str) -> None:
    heirs = [i for i in range(3) if worker(i).adopts(left_by)]
    assert heirs == [{"host-w1": 1, "host-w2": 2}.get(left_by, 0)]
    assert worker(None).adopts(left_by)


def test_what_is_not_mine_is_not_even_locked(tmp_path: Path) -> None:
    for number, replica in enumerate(("host-w0", "host-w1")):
        Segment.create(tmp_path, LogName("m", replica, f"{number:016x}", 0)).close()
    mine = orphans(tmp_path, worker(1).adopts)
    assert [segment.name.replica for segment in mine] == ["host-w1"]
    assert [segment.name.replica for segment in orphans(tmp_path, worker(0).adopts)] == ["host-w0"]


def test_the_disk_is_divided_and_the_port_is_not() -> None:
    assert worker(0, 4).log_bytes * 4 == worker(None).log_bytes == 1 << 30
    assert worker(0).worker_ports == [40_000, 40_001, 40_002]


def test_the_local_cluster_hands_the_number_on() -> None:
    assert LocalSettings(serving_workers=2).environment()["TRIMTAB_SERVING_WORKERS"] == "2"
