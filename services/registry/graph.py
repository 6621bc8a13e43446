"""Look into an ONNX file of unknown origin. Run as a script, in a process of its own with capped memory and time.

`python graph.py MODEL.onnx MEMORY_BYTES CPU_SECONDS` prints one JSON object: `{"inputs": [...], "outputs": [...]}`,
each `{"name", "dtype", "dims"}` (a dimension that is not fixed is null), or `{"refused": "a sentence"}`. The file is
read without its external data, walked, loaded in ONNX Runtime and run on one row of zeros and empty strings. A graph
that asks for more memory or time than it is given ends this process and nothing else.

Refused: external data in any tensor (it names a file to read: CVE-2024-27318 and its successors), operators of
unknown domains, training information, and values that are not tensors.
"""

import json
import resource
import sys
from collections.abc import Iterator
from typing import Any

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Operator sets that the platform serves; a function that the model defines itself is known too."""


class Refused(Exception):
    """The file must not be served; the text says why."""


def tensors_of(graph: Any) -> Iterator[Any]:
    """Every TensorProto of a graph or function: initializers, sparse ones, attributes, and those of subgraphs."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for subgraph in (attribute.g, *attribute.graphs):
                yield from tensors_of(subgraph)


def nodes_of(graph: Any) -> Iterator[Any]:
    """Every node of a graph or function and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                yield from nodes_of(subgraph)


def check_model(model: Any) -> None:
    """Raise `Refused` for what a ModelProto must not hold. Reads no other file."""
    import onnx

    if model.training_info:
        raise Refused("the graph carries training information: export it for inference")
    functions = {(function.domain, function.name) for function in model.functions}
    for part in (model.graph, *model.functions):
        for tensor in tensors_of(part):
            if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise Refused(
                    f"tensor {tensor.name!r} keeps its data in another file: save the model with all data inside "
                    "(onnx.save_model(..., save_as_external_data=False))"
                )
        for node in nodes_of(part):
            if node.domain not in KNOWN_DOMAINS and (node.domain, node.op_type) not in functions:
                raise Refused(
                    f"operator {node.op_type!r} is of the unknown domain {node.domain!r}: "
                    "only ai.onnx and ai.onnx.ml are served"
                )


def values_of(values: Any, initializers: set[str]) -> list[dict[str, Any]]:
    """Name, dtype and dimensions of graph inputs or outputs."""
    import onnx

    described = []
    for value in values:
        if value.name in initializers:
            continue
        if not value.type.HasField("tensor_type"):
            raise Refused(
                f"{value.name!r} is not a tensor: convert scikit-learn classifiers with the option zipmap=False"
            )
        tensor = value.type.tensor_type
        dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        names = {"float": "float32", "double": "float64"}
        described.append({"name": value.name, "dtype": names.get(dtype, dtype), "dims": dims})
    return described


def run_once(path: str, inputs: list[dict[str, Any]]) -> None:
    """Load the file in ONNX Runtime and answer one row. Raises `Refused` with the runtime's own words."""
    import numpy as np
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    failures = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
        state.NoModel,
        state.EPFail,
        state.NoSuchFile,
    )
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        row = {
            value["name"]: np.full(
                [size or 1 for size in value["dims"]],
                "" if value["dtype"] == "string" else 0,
                dtype=object if value["dtype"] == "string" else value["dtype"],
            )
            for value in inputs
        }
        session.run(None, row)
    except failures as error:
        raise Refused(f"ONNX Runtime cannot run it: {' '.join(str(error).split())[:500]}") from error


def inspect(path: str) -> dict[str, Any]:
    """What the file at `path` takes and returns. Raises `Refused`."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model(path, load_external_data=False)
        check_model(model)
        onnx.checker.check_model(model)
    except DecodeError as error:
        raise Refused("the file is not an ONNX model") from error
    except onnx.checker.ValidationError as error:
        raise Refused(f"the ONNX model is not valid: {' '.join(str(error).split())[:500]}") from error
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs, outputs = values_of(model.graph.input, initializers), values_of(model.graph.output, set())
    del model
    run_once(path, inputs)
    return {"inputs": inputs, "outputs": outputs}


def main(path: str, memory_bytes: int, cpu_seconds: int) -> None:
    """Cap this process, inspect, print."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = inspect(path)
    except Refused as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": "it asks for more memory than the inspection allows"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
