"""What every runtime does alike: the same models, the same rows, the same answers and failures."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from schemas.features import DType, Feature, Output, Signature
from services.kernel.errors import IntegrityFailed
from services.serving.columns import Layout, numpy_dtype
from services.serving.loader import warm
from services.serving.runtime import Array, Runtime, RuntimeFailed
from services.serving.runtime.onnx import OnnxRuntime
from services.serving.runtime.savedmodel import SavedModelRuntime
from tests import saved_models
from tests.serving_models import EVERY, VECTOR, every_model, fixed_model

pytestmark = pytest.mark.timeout(300)  # processes with TensorFlow, which take seconds to start

Opener = Callable[[str, Signature], Runtime]

FIXED = VECTOR.model_copy(update={"outputs": (Output(name="y", dtype=DType.FLOAT32, shape=(4,)),), "classes": None})
MISSHAPEN = EVERY.model_copy(update={"outputs": (*EVERY.outputs, Output(name="sum", dtype=DType.FLOAT32, shape=(4,)))})


def feed_of(rows: int, **changes: object) -> dict[str, Array]:
    """Rows of `EVERY`, all different, as serving feeds them."""
    rng = np.random.default_rng(rows)
    words = np.array(["http", "smtp", "", "ünïcode ☂", "x" * 1000], dtype=object)
    amounts = rng.normal(size=(rows, 1)).astype(np.float32)
    amounts[::3] = np.nan
    feed: dict[str, Array] = {
        "x": rng.normal(size=(rows, 4)).astype(np.float32),
        "flag": rng.integers(0, 2, size=(rows, 1)).astype(bool),
        "code": rng.integers(0, 4, size=(rows, 1)),
        "level": rng.normal(size=(rows, 1)),
        "small": rng.integers(0, 256, size=(rows, 1)).astype(np.uint8),
        "word": words[rng.integers(0, len(words), size=(rows, 1))],
        "amount": amounts,
    }
    for name, value in changes.items():
        feed[name] = np.full_like(feed[name], value)
    return feed


def expected(feed: Mapping[str, Array]) -> list[Array]:
    """What `EVERY` answers, by NumPy."""
    z = feed["x"][:, :3]
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    numbers = np.vectorize({"http": 1.0, "smtp": 2.0}.get, otypes=[float])(feed["word"], 0.0)
    added = feed["code"] + np.nan_to_num(feed["amount"]).astype(float) + numbers + feed["small"]
    return [powers / powers.sum(axis=1, keepdims=True), feed["level"] + added + feed["flag"], feed["word"]]


class RuntimeConformance:
    """The suite. A subclass has the fixture `opened`, which opens a model of the table by its name."""

    @pytest.mark.parametrize("rows", [1, 8, 64])
    def test_answers_are_those_of_numpy(self, opened: Opener, rows: int) -> None:
        feed = feed_of(rows)
        outputs = opened("every", EVERY).run(feed, rows)
        assert [output.shape for output in outputs] == [(rows, 3), (rows, 1), (rows, 1)]
        for output, wanted in zip(outputs[:2], expected(feed), strict=False):
            np.testing.assert_allclose(output, wanted, rtol=1e-5, atol=1e-6)
        assert outputs[2].tolist() == feed["word"].tolist()
        assert [output.dtype for output in outputs] == [np.float32, np.float64, object]

    def test_feed_made_from_rows_is_taken(self, opened: Opener) -> None:
        layout = Layout(EVERY)
        row = (np.ones(4, np.float32), True, 3, 0.5, 255, "smtp", float("nan"))
        columns = layout.from_rows([row, row])
        assert opened("every", EVERY).run(layout.feed(columns), 2)[1].tolist() == [[261.5], [261.5]]

    def test_strings_of_numpys_own_kind_are_strings(self, opened: Opener) -> None:
        feed = feed_of(2) | {"word": np.array([["http"], ["ü"]], dtype=object)}
        assert opened("every", EVERY).run(feed, 2)[2].tolist() == [["http"], ["ü"]]

    def test_rows_do_not_depend_on_their_company(self, opened: Opener) -> None:
        runtime, feed = opened("every", EVERY), feed_of(8)
        together = runtime.run(feed, 8)
        alone = [runtime.run({name: array[i : i + 1] for name, array in feed.items()}, 1) for i in range(8)]
        for output, pieces in zip(together, zip(*alone, strict=True), strict=True):
            joined = np.concatenate(pieces)
            if output.dtype == object:
                assert joined.tolist() == output.tolist()
            else:
                np.testing.assert_allclose(joined, output, rtol=1e-6)

    def test_a_model_that_raises_fails_and_lives(self, opened: Opener) -> None:
        runtime = opened("every", EVERY)
        with pytest.raises(RuntimeFailed, match="the model raised"):
            runtime.run(feed_of(2, code=99), 2)
        assert runtime.run(feed_of(2), 2)[1].shape == (2, 1)

    def test_rows_of_another_shape_fail(self, opened: Opener) -> None:
        runtime = opened("every", EVERY)
        with pytest.raises(RuntimeFailed):
            runtime.run(feed_of(1) | {"x": np.zeros((1, 5), np.float32)}, 1)
        assert runtime.run(feed_of(1), 1)[0].shape == (1, 3)

    def test_an_output_without_a_row_for_each_fails(self, opened: Opener) -> None:
        runtime = opened("every", MISSHAPEN)
        assert runtime.run(feed_of(1), 1)[3].shape == (1, 4)
        with pytest.raises(RuntimeFailed, match="'sum' does not have one entry a row"):
            runtime.run(feed_of(2), 2)

    def test_outputs_come_in_the_signatures_order_and_no_others(self, opened: Opener) -> None:
        turned = EVERY.model_copy(update={"outputs": EVERY.outputs[::-1][:2]})
        outputs = opened("every", turned).run(feed_of(3), 3)
        assert [output.dtype for output in outputs] == [object, np.float64]

    def test_a_fixed_batch_axis_is_told(self, opened: Opener) -> None:
        runtime = opened("fixed", FIXED)
        assert runtime.max_rows == 1
        x = np.arange(4, dtype=np.float32)[None]
        assert runtime.run({"x": x}, 1)[0].tolist() == x.tolist()
        assert opened("every", EVERY).max_rows is None

    def test_a_signature_that_contradicts_the_model(self, opened: Opener) -> None:
        other = Feature(name="x", dtype=DType.INT64, shape=(4,))
        with pytest.raises(IntegrityFailed, match=r"input 'x' is .*float.* in the graph, int64 in the signature"):
            opened("every", EVERY.model_copy(update={"inputs": (other, *EVERY.inputs[1:])}))

    def test_it_can_be_warmed(self, opened: Opener) -> None:
        assert [rows for rows, _ in warm(opened("every", EVERY), EVERY)] == [1, 8, 64]
        assert [rows for rows, _ in warm(opened("fixed", FIXED), FIXED)] == [1]

    def test_threads_take_turns(self, opened: Opener) -> None:
        runtime = opened("every", EVERY)
        feeds = [feed_of(rows) for rows in range(1, 41)]
        with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as another:  # from any thread, one at a time
            for feed in feeds:
                rows = len(feed["x"])
                thread = one if rows % 2 else another
                np.testing.assert_allclose(
                    thread.submit(runtime.run, feed, rows).result()[1], expected(feed)[1], rtol=1e-5, atol=1e-6
                )

    def test_what_it_runs_on_is_told(self, opened: Opener) -> None:
        assert "CPU" in opened("every", EVERY).provider


@pytest.fixture(scope="module")
def onnx_opened(tmp_path_factory: pytest.TempPathFactory) -> Opener:
    """Opens graphs."""
    folder = tmp_path_factory.mktemp("onnx")
    paths = {"every": every_model(folder / "every.onnx"), "fixed": fixed_model(folder / "fixed.onnx")}
    return lambda name, signature: OnnxRuntime(paths[name], signature)


@pytest.fixture(scope="module")
def savedmodel_opened(saved: Path) -> Iterator[Opener]:
    """Opens SavedModels, each signature in one process for all tests."""
    known: dict[tuple[str, str], SavedModelRuntime] = {}

    def opener(name: str, signature: Signature) -> Runtime:
        key = (name, signature.digest())
        if key not in known:
            known[key] = SavedModelRuntime(saved / name, signature)
        return known[key]

    yield opener
    for runtime in known.values():
        runtime.close()
    assert all(runtime.closed() for runtime in known.values())


class TestOnnx(RuntimeConformance):
    """ONNX Runtime in the process."""

    @pytest.fixture
    def opened(self, onnx_opened: Opener) -> Opener:
        """Graphs."""
        return onnx_opened

    def test_several_threads_at_once_are_answered_too(self, opened: Opener) -> None:
        """More than the interface asks: a session may be run by several threads."""
        runtime, feed = opened("every", EVERY), feed_of(64)
        with ThreadPoolExecutor(4) as threads:
            answers = [answer.result()[1] for answer in [threads.submit(runtime.run, feed, 64) for _ in range(20)]]
        assert all((answer == answers[0]).all() for answer in answers)
        assert answers[0].dtype == numpy_dtype(DType.FLOAT64)


class TestSavedModel(RuntimeConformance):
    """TensorFlow in a process of its own."""

    @pytest.fixture
    def opened(self, savedmodel_opened: Opener) -> Opener:
        """SavedModels."""
        return savedmodel_opened

    def test_several_threads_at_once_take_turns(self, opened: Opener) -> None:
        """More than the interface asks: they wait for each other."""
        runtime, feed = opened("every", EVERY), feed_of(64)
        with ThreadPoolExecutor(4) as threads:
            answers = [answer.result()[1] for answer in [threads.submit(runtime.run, feed, 64) for _ in range(20)]]
        assert all((answer == answers[0]).all() for answer in answers)


def test_the_table_names_what_there_is(saved: Path) -> None:
    assert {saved_models.EVERY, saved_models.FIXED, saved_models.TROUBLE} <= {path.name for path in saved.iterdir()}
