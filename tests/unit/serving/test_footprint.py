"""What loading took of memory, measured on models whose size is known."""

import gc
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from services.serving import footprint
from services.serving.loader import warm
from services.serving.runtime.memory import give_back, resident_bytes
from services.serving.runtime.onnx import OnnxRuntime
from services.serving.samples import sample_rows
from tests.serving_models import VECTOR

MIB = 1 << 20


def heavy_model(path: Path, mib: int) -> Path:
    """A model of about `mib` MiB of weights with the signature VECTOR."""
    width = 1024
    layers = mib // 4
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(np.eye(4, width, dtype=np.float32), "in")]
    nodes = [helper.make_node("MatMul", ["x", "in"], ["h0"])]
    for i in range(layers):
        weights.append(numpy_helper.from_array(rng.standard_normal((width, width), dtype=np.float32), f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"h{i}", f"w{i}"], [f"h{i + 1}"]))
    weights.append(numpy_helper.from_array(rng.standard_normal((width, 3), dtype=np.float32), "out"))
    nodes.append(helper.make_node("MatMul", [f"h{layers}", "out"], ["z"]))
    nodes.append(helper.make_node("Softmax", ["z"], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    del model, graph, weights
    gc.collect()
    return path


def test_the_figures_are_what_the_model_holds(tmp_path: Path) -> None:
    path = heavy_model(tmp_path / "model.onnx", 64)
    filled = bytearray(200 * MIB)  # freed memory that a load could hide in
    del filled
    with footprint.measured() as taken:
        runtime = OnnxRuntime(path, VECTOR)
        warm(runtime, VECTOR, sample_rows(VECTOR, None, 64))
    assert 60 * MIB < taken.resident_bytes < 80 * MIB
    assert taken.allocated_bytes is not None
    assert 60 * MIB < taken.allocated_bytes < 80 * MIB
    before = resident_bytes()
    runtime.close()
    give_back()
    assert before - resident_bytes() > 55 * MIB


def test_what_frees_memory_takes_none() -> None:
    block = bytearray(50 * MIB)
    with footprint.measured() as taken:
        del block
    assert taken.resident_bytes == 0
    assert taken.allocated_bytes == 0
