"""The model that every server of the benchmark answers with: an MLP 64-32 over 20 floats, six classes."""

import json
import warnings
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import DeploymentWanted, Route
from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.kernel.artifacts import build_manifest, store_version, write_manifest
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.settings import Settings
from services.kernel.storage import open_store

FLOATS = [round(0.05 * i, 4) for i in range(20)]
CLASSES = tuple("abcdef")
NAMES = tuple(f"feature_{i}" for i in range(20))
OUTPUTS = (
    Output(name="label", dtype=DType.INT64, role=OutputRole.LABEL),
    Output(name="probabilities", dtype=DType.FLOAT32, shape=(6,), role=OutputRole.PROBABILITIES),
)


def tensor_body(name: str) -> bytes:
    """One inference request of one row."""
    return json.dumps({"inputs": [{"name": name, "shape": [1, 20], "datatype": "FP32", "data": FLOATS}]}).encode()


def named_body(model_id: str) -> bytes:
    """The same row for `/mlops/predict`."""
    return json.dumps({"modelId": model_id, "input": dict(zip(NAMES, FLOATS, strict=True))}).encode()


def train(path: Path) -> Signature:
    """The model as ONNX at `path`, with one tensor input, and its signature."""
    from skl2onnx import to_onnx
    from sklearn.datasets import make_classification
    from sklearn.neural_network import MLPClassifier

    x, y = make_classification(5_000, 20, n_informative=12, n_classes=6, random_state=0)
    x = x.astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how well it has converged does not matter here
        model = MLPClassifier((64, 32), max_iter=15, random_state=0).fit(x, y)
    path.write_bytes(to_onnx(model, x[:1], options={"zipmap": False}, target_opset=18).SerializeToString())
    return Signature(
        inputs=(Feature(name="X", dtype=DType.FLOAT32, shape=(20,)),),
        outputs=OUTPUTS,
        classes=CLASSES,
    )


def table_version(graph: Path, path: Path) -> Signature:
    """The same model with 20 named inputs in front, for `/mlops/predict`."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(graph)
    joined = helper.make_node("Concat", list(NAMES), ["X"], axis=1)
    model.graph.node.insert(0, joined)
    del model.graph.input[:]
    model.graph.input.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1]) for n in NAMES)
    onnx.save(model, path)
    return Signature(
        inputs=tuple(Feature(name=name, dtype=DType.FLOAT32) for name in NAMES), outputs=OUTPUTS, classes=CLASSES
    )


def wide_version(path: Path) -> Signature:
    """A network of 20-1024-512-6 with random weights: thirty times the work of the other a row."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    nodes, constants, value = [], [], "X"
    for layer, (width, following) in enumerate(pairwise((20, 1024, 512, len(CLASSES)))):
        weights = random.normal(scale=width**-0.5, size=(width, following)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"W{layer}"))
        nodes.append(helper.make_node("MatMul", [value, f"W{layer}"], [f"z{layer}"]))
        nodes.append(helper.make_node("Relu", [f"z{layer}"], [f"a{layer}"]))
        value = f"a{layer}"
    nodes.append(helper.make_node("Softmax", [value], ["probabilities"], axis=1))
    nodes.append(helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0))
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 20])]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, len(CLASSES)]),
    ]
    graph = helper.make_graph(nodes, "wide", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return Signature(inputs=(Feature(name="X", dtype=DType.FLOAT32, shape=(20,)),), outputs=OUTPUTS, classes=CLASSES)


def publish(settings: Settings, directory: Path, model_id: str, signature: Signature) -> DeploymentWanted:
    """Store the version in `directory` and say that all traffic goes to it."""
    manifest = build_manifest(directory, model_id=model_id, framework="sklearn", signature=signature)
    write_manifest(directory, manifest)
    artifact = f"models/{model_id}/1"
    digest = store_version(open_store(settings), directory, artifact)
    route = Route(name="production", version="1.0.0", weight=100, artifact=artifact, manifest_digest=digest)
    return DeploymentWanted(model_id=model_id, revision=1, routes=(route,), since=datetime.now(UTC))


async def announce(settings: Settings, wanted: list[DeploymentWanted]) -> None:
    """Create the topics and put the wanted states into theirs."""
    await apply_topics(settings)
    producer = Producer(settings, "bench")
    await producer.start()
    for state in wanted:
        content_type, body = encode(state)
        envelope = Envelope(
            id=new_id(),
            source="bench",
            type=state.TYPE,
            time=datetime.now(UTC),
            revision=1,
            content_type=content_type,
        )
        await producer.send("deployments", body, key=state.key.encode(), headers=to_headers(envelope))
    await producer.stop()
