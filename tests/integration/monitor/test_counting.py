"""Counted rows equal produced rows, whatever happens to the process or comes twice."""

import json
import signal
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from schemas.predictions import Gap
from tests.integration.monitor.harness import MODEL, VERSION, Monitor, batch, columns


def test_batches_and_hand_made_records_are_counted_alike(monitor: Monitor) -> None:
    random = np.random.default_rng(1)
    monitor.publish([batch(random, i * 256, 256) for i in range(10)])
    raw = {name: np.asarray(values).tolist() for name, values in columns(random, 100).items()}
    monitor.publish_json(
        [
            {
                "modelId": MODEL,
                "version": VERSION,
                "input": {name: values[i] for name, values in raw.items()},
                "prediction": "good",
                "probabilities": [0.8, 0.2],
            }
            for i in range(100)
        ]
    )
    monitor.wait(lambda: monitor.counted() == 2660, "2,660 rows are counted")
    report = monitor.get(f"/mlops/models/{MODEL}/drift")
    windows = sum(window["rows"] for window in report["history"])
    current = report["current"]
    assert report["rows_counted"] == 2660
    assert windows + (0 if current["complete"] else current["rows"]) == 2660
    amount = next(feature for feature in current["features"] if feature["feature"] == "amount")
    assert sum(one["window"] for one in amount["bins"]) == current["rows"]
    assert sum(one["baseline"] for one in amount["bins"]) == 5000


def test_a_batch_that_comes_twice_counts_once_and_a_lost_range_is_told(monitor: Monitor) -> None:
    random = np.random.default_rng(2)
    first, overlapping = batch(random, 0, 200), batch(random, 150, 100)
    after_a_loss = batch(random, 300, 50)
    after_a_gap = batch(random, 400, 50, gaps=(Gap(first_sequence=350, rows=50, reason="budget"),))
    monitor.publish([first, first, overlapping, after_a_loss, after_a_gap, first])
    other_life = batch(random, 0, 10, incarnation="life-2")
    monitor.publish([other_life])
    monitor.wait(lambda: monitor.counted() == 200 + 50 + 50 + 50 + 10, "each row is counted once")
    monitor.wait(lambda: monitor.model()["repeated"] == 200 + 50 + 200, "the repeats are known")
    assert monitor.model()["missing"] == 50
    assert monitor.model()["shed"] == 50


def test_a_hand_made_record_with_an_id_counts_once(monitor: Monitor) -> None:
    record = {"model_id": MODEL, "prediction_id": "mine-a", "input": {"amount": 1, "age": 20, "country": "at"}}
    monitor.publish_json([record, record])
    monitor.wait(lambda: monitor.counted() == 1, "one row is counted")
    monitor.publish_json([record, {**record, "prediction_id": "mine-b"}])
    monitor.wait(lambda: monitor.counted() == 2, "the second id is counted")
    assert monitor.model()["repeated"] == 2


def test_what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_flows(monitor: Monitor) -> None:
    good = {"model_id": MODEL, "version": VERSION, "input": {"amount": 1.0, "age": 20, "country": "at"}}
    monitor.publish_json([b"not json", b"\xff\xfe", {"model_id": MODEL}, good])
    monitor.wait(lambda: monitor.counted() == 1, "the good record is counted")
    monitor.wait(lambda: len(monitor.raw("predictions.dlq")) == 3, "three dead letters")
    assert b"not json" in monitor.raw("predictions.dlq")


def test_rows_of_a_version_that_is_not_known_yet_wait_and_are_not_lost(monitor: Monitor) -> None:
    random = np.random.default_rng(3)
    monitor.publish([batch(random, 0, 100, version="2.0.0", incarnation="early")])
    monitor.publish([batch(random, 0, 100)])
    monitor.wait(lambda: "partition_waits_for_version" in monitor.log.read_text(), "the monitor waits")
    monitor.register(version="2.0.0")
    monitor.wait(lambda: monitor.counted(version="2.0.0") == 100, "the waiting rows are counted")
    monitor.wait(lambda: monitor.counted() == 100, "those behind them too")


def test_rows_of_a_version_that_never_comes_are_buried_after_a_bounded_wait(
    make_monitor: Callable[..., Monitor],
) -> None:
    monitor = make_monitor(monitor_unknown_wait_seconds=1)
    monitor.register()
    monitor.start()
    random = np.random.default_rng(4)
    strangers = [batch(random, 0, 10, version=f"9.9.{i}", incarnation=f"lost-{i}") for i in range(100)]
    monitor.publish([*strangers, batch(random, 0, 30)])
    monitor.wait(lambda: monitor.counted() == 30, "the known version is counted")
    assert len(monitor.raw("predictions.dlq")) == 100


@pytest.mark.parametrize(
    "point", ["monitor-after-spool", "monitor-before-save", "monitor-in-save", "monitor-after-save"]
)
def test_kill_at_every_point_around_the_save_counts_every_row_once(
    make_monitor: Callable[..., Monitor], point: str
) -> None:
    monitor = make_monitor()
    monitor.register()
    monitor.start(failpoints=f"{point}:2")
    random = np.random.default_rng(5)
    sent = 0
    monitor.publish([batch(random, 0, 128)])
    process = monitor.process
    assert process is not None
    # where the version is heard of late, the first save holds no rows and the process dies with the first that does
    monitor.wait(lambda: monitor.counted() == 128 or process.poll() is not None, "the first rows are counted")
    for _ in range(20):
        sent += 1
        monitor.publish([batch(random, sent * 128, 128)])
        if process.poll() is not None:
            break
    monitor.wait(lambda: process.poll() == -signal.SIGKILL, "the process died at the point")
    monitor.start()
    monitor.wait(lambda: monitor.counted() == (sent + 1) * 128, "every row is counted once")
    report = monitor.get(f"/mlops/models/{MODEL}/drift")
    rows = sum(window["rows"] for window in report["history"]) + report["current"]["rows"]
    assert rows == (sent + 1) * 128
    assert monitor.model()["repeated"] == monitor.model()["missing"] == 0


def test_killed_again_and_again_under_traffic(make_monitor: Callable[..., Monitor]) -> None:
    monitor = make_monitor()
    monitor.register()
    random = np.random.default_rng(6)
    models = {name: 0 for name in (MODEL, "other")}
    monitor.register("other")
    for life in range(4):
        monitor.start()
        for _ in range(15):
            for name in models:
                monitor.publish([batch(random, models[name], 64, model_id=name, incarnation=f"log-{name}")])
                models[name] += 64
        monitor.wait(partial(_counts_more_than, monitor, life * 64), "the monitor counts")
        monitor.kill()
    monitor.start()
    for name, rows in models.items():
        monitor.wait(partial(_has_counted, monitor, name, rows), f"all rows of {name}")
        assert monitor.model(name)["repeated"] == monitor.model(name)["missing"] == 0


def _counts_more_than(monitor: Monitor, rows: int) -> bool:
    return monitor.counted() > rows


def _has_counted(monitor: Monitor, name: str, rows: int) -> bool:
    return monitor.counted(name) == rows


def test_a_second_monitor_on_the_same_sqlite_refuses_to_start(
    monitor: Monitor, make_monitor: Callable[..., Monitor]
) -> None:
    second = make_monitor()
    second.start()
    assert second.process is not None
    assert second.process.wait(timeout=60) != 0
    lines = [json.loads(line) for line in second.log.read_text().splitlines() if line.startswith("{")]
    assert any("another monitor" in str(line) for line in lines)
    assert monitor.ready()


def test_sigterm_stops_in_order(monitor: Monitor) -> None:
    assert monitor.stop() == 0


def test_batches_that_no_database_could_hold_are_buried(monitor: Monitor) -> None:
    random = np.random.default_rng(8)
    odd_version = batch(random, 0, 5, version="1\0", incarnation="odd")
    far = batch(random, 2**63, 5, incarnation="far")
    monitor.publish([odd_version, far, batch(random, 0, 5)])
    monitor.wait(lambda: monitor.counted() == 5, "the good batch is counted")
    monitor.wait(lambda: len(monitor.raw("predictions.dlq")) == 2, "two dead letters")


def test_two_monitors_on_postgresql_share_the_work_and_survive_each_other(
    make_monitor: Callable[..., Monitor], postgres_url: str
) -> None:
    one, two = (make_monitor(database_url=postgres_url) for _ in range(2))
    names = ("a", "b", "c", "d")
    for name in names:
        one.register(name)
    one.start()
    two.start()
    one.wait(one.ready, "the first is ready")
    two.wait(two.ready, "the second is ready")
    random = np.random.default_rng(9)
    for round_number in range(12):
        one.publish([batch(random, round_number * 100, 100, model_id=name, incarnation=name) for name in names])
        if round_number == 5:
            two.kill()
    for name in names:
        one.wait(partial(_has_counted, one, name, 1200), f"all rows of {name}", 60)
        assert one.model(name)["repeated"] == one.model(name)["missing"] == 0
        report = one.get(f"/mlops/models/{name}/drift")
        assert sum(window["rows"] for window in report["history"]) == 1000
        assert report["current"]["rows"] == 200


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(monitor: Monitor) -> None:
    random = np.random.default_rng(10)
    first = batch(random, 0, 50)
    monitor.publish([first] * 5)
    monitor.wait(lambda: monitor.model().get("repeated") == 200, "the first rows are counted")
    assert monitor.stop() == 0
    monitor.make_anew("predictions")
    monitor.publish([first, batch(random, 50, 50)])
    monitor.start()
    monitor.wait(lambda: monitor.counted() == 100, "the new rows are counted")
    assert monitor.model()["repeated"] == 250
    assert "topic_made_anew" in monitor.log.read_text()
    monitor.publish([batch(random, 100, 50)])
    monitor.wait(lambda: monitor.counted() == 150, "it goes on")
