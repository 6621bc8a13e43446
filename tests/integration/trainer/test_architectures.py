"""Every architecture becomes one ONNX graph that says what the Keras network says."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.jobs import ModelConfig, Optimizer
from services.kernel.errors import InvalidInput
from services.trainer import architectures, graph
from services.trainer.child import TENSORFLOW
from services.trainer.encoding import Encoding
from services.trainer.inference import infer_inputs, probabilities_signature

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:keras")


@pytest.fixture(scope="module")
def fitting() -> Iterator[Any]:
    """The only module that imports TensorFlow."""
    os.environ.update(TENSORFLOW)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from services.trainer import fitting

        yield fitting


def _rows() -> pa.Table:
    generator = np.random.default_rng(0)
    columns: dict[str, Any] = {f"n{i}": generator.normal(i, i + 1, 64) for i in range(5)}
    columns["kind"] = pa.array(generator.choice(["tcp", "udp", "icmp"], 64).tolist())
    return pa.table(columns)


@pytest.mark.parametrize("layers", [None, (8,), (8, 6)])
@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_the_graph_is_the_network(fitting: Any, tmp_path: Path, name: str, layers: tuple[int, ...] | None) -> None:
    rows = _rows()
    signature = probabilities_signature(infer_inputs(rows)[0], ("a", "b", "c"))
    encoding = Encoding.learn(rows, signature)
    network = architectures.build(ModelConfig(architecture=name, layers=layers), encoding.width, 3)
    everything = pa.concat_tables([rows, graph.with_gaps(rows, signature)])
    expected = fitting.predict(network, encoding.encode(everything))
    model = graph.build(fitting.export(network, tmp_path), encoding, signature)
    assert graph.verify(model, everything, expected, signature) < 1e-5
    assert graph.verify(model, everything.slice(0, 1), expected[:1], signature) < 1e-5
    assert not list(tmp_path.iterdir())


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="mlp, lstm"):
        architectures.check("oracle")


def test_decay_is_inverse_time_decay(fitting: Any) -> None:
    made = fitting.optimizer(Optimizer(type="SGD", learning_rate=0.1, decay=0.5))
    rates = [float(made._learning_rate(step)) for step in range(3)]
    assert rates == pytest.approx([0.1, 0.1 / 1.5, 0.1 / 2.0])
