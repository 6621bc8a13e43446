"""Look into an ONNX file of unknown origin. Run as a script, in a process of its own with capped memory and time.

It waits for one line on its standard input, a JSON list `[MODEL.onnx, MEMORY_BYTES, CPU_SECONDS]`, so that it can be
started before there is a file to look into. It prints one JSON object: `{"inputs": [...], "outputs": [...]}`,
each `{"name", "dtype", "dims"}` (a dimension that is not fixed is null), or `{"refused": "a sentence"}`. The file is
read without its external data, walked, checked, loaded in ONNX Runtime and run on one row of zeros and empty strings.
A graph that asks for more memory or time than it is given ends this process and nothing else.

Refused: external data in any tensor (it names a file to read: CVE-2024-27318 and its successors CVE-2026-27489, -34446
and -34447, by `..`, symbolic and hard links), operators of unknown domains, training information, and values that are
not tensors.

Cost: large initializers are not read. They are cut out before anything is parsed (`weights.py`), measured, and ONNX
Runtime is told where in this same file they lie: it maps them, and touches what it folds. Without that protobuf,
`onnx.checker` and ONNX Runtime copy them, each for itself. A file that is written in an odd way is parsed whole. ONNX
Runtime folds constants as it does in serving, since that is where a tiny graph can become a large one.
"""

import json
import math
import mmap
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Operator sets that the platform serves; a function that the model defines itself is known too."""

MAX_VALUES = 10_000
"""Inputs, and outputs."""
MAX_NAME_CHARACTERS = 256
GROWTH_BYTES, GROWTH = 512 << 20, 4
"""A graph may take `GROWTH` times its file's size and this much more memory once it is loaded. What takes more makes it
out of nothing (constants that are folded, in branches that are never taken too), and would in serving as well."""
MAX_BYTES = (1 << 31) - 1
"""Longest message of protobuf, https://protobuf.dev/programming-guides/proto-limits/, and so the longest ONNX file."""
WEIGHED_BYTES = 1 << 16
"""Tensors from this size on are measured here and left out of what `onnx.checker` gets."""
ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 14: 8, 15: 16, 16: 2}
"""Bytes of an element by `TensorProto.DataType`; of other types (strings, less than a byte) no tensor is left out."""


class Refused(Exception):
    """The file must not be served; the text says why."""


def brief(text: object) -> str:
    """`text` quoted, short enough for a sentence."""
    return repr(text)[:80]


def attributes_of(graph: Any) -> Iterator[Any]:
    """Every attribute of a graph or function and of its subgraphs; a function's defaults too."""
    yield from getattr(graph, "attribute_proto", ())
    for node in graph.node:
        yield from node.attribute


def subgraphs_of(graph: Any) -> Iterator[Any]:
    """`graph` (or a function) and every graph in its attributes, at any depth."""
    yield graph
    for attribute in attributes_of(graph):
        for subgraph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
            yield from subgraphs_of(subgraph)


def dense_of(graph: Any) -> Iterator[Any]:
    """Every dense TensorProto of a graph or function: initializers, attributes, and those of subgraphs."""
    for part in subgraphs_of(graph):
        yield from getattr(part, "initializer", ())
        for attribute in attributes_of(part):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def tensors_of(graph: Any) -> Iterator[Any]:
    """Every TensorProto of a graph or function, those of sparse tensors too."""
    yield from dense_of(graph)
    for part in subgraphs_of(graph):
        yield from (half for sparse in getattr(part, "sparse_initializer", ()) for half in _halves(sparse))
        for attribute in attributes_of(part):
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from _halves(sparse)


def _halves(sparse: Any) -> tuple[Any, Any]:
    return sparse.values, sparse.indices


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
                    f"tensor {brief(tensor.name)} keeps its data in another file: save the model with all data inside "
                    "(onnx.save_model(..., save_as_external_data=False))"
                )
        for node in (node for graph in subgraphs_of(part) for node in graph.node):
            if node.domain not in KNOWN_DOMAINS and (node.domain, node.op_type) not in functions:
                raise Refused(
                    f"operator {brief(node.op_type)} is of the unknown domain {brief(node.domain)}: "
                    "only ai.onnx and ai.onnx.ml are served"
                )


def lighten(model: Any) -> None:
    """Empty the large dense tensors, which are measured instead. Raises `Refused`: the bytes do not fit the shape."""
    for part in (model.graph, *model.functions):
        for tensor in dense_of(part):
            found = len(tensor.raw_data)
            if found >= WEIGHED_BYTES and tensor.data_type in ITEM_BYTES:
                measure(tensor, found)
                tensor.raw_data = b""
                tensor.dims[:] = [0]


def measure(tensor: Any, found: int) -> None:
    """Raise `Refused` unless `found` bytes are what the tensor's shape asks for."""
    expected = ITEM_BYTES[tensor.data_type] * math.prod(tensor.dims)
    if found != expected or min(tensor.dims, default=0) < 0:
        raise Refused(f"tensor {brief(tensor.name)} has {found} bytes and its shape asks for {expected}")


def values_of(values: Any, initializers: set[str]) -> list[dict[str, Any]]:
    """Name, dtype and dimensions of graph inputs or outputs."""
    import onnx

    described: list[dict[str, Any]] = []
    for value in values:
        if value.name in initializers:
            continue
        if len(value.name) > MAX_NAME_CHARACTERS or len(described) == MAX_VALUES:
            raise Refused(
                f"{brief(value.name)}: a graph has at most {MAX_VALUES} inputs and outputs, "
                f"named in {MAX_NAME_CHARACTERS} characters"
            )
        if not value.type.HasField("tensor_type"):
            raise Refused(
                f"{brief(value.name)} is not a tensor: convert scikit-learn classifiers with the option zipmap=False"
            )
        tensor = value.type.tensor_type
        if tensor.elem_type not in onnx.TensorProto.DataType.values():
            raise Refused(f"{brief(value.name)} is of the unknown type {tensor.elem_type}")
        dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        if any(size is not None and size < 0 for size in dims):
            raise Refused(f"{brief(value.name)} has a negative dimension")
        names = {"float": "float32", "double": "float64"}
        described.append({"name": value.name, "dtype": names.get(dtype, dtype), "dims": dims})
    return described


def row_of(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of zeros and empty strings. Raises `Refused` for types and sizes that no row has."""
    import numpy as np

    try:
        return {
            value["name"]: np.full(
                [size or 1 for size in value["dims"]],
                "" if value["dtype"] == "string" else 0,
                dtype=object if value["dtype"] == "string" else value["dtype"],
            )
            for value in inputs
        }
    except (TypeError, ValueError) as error:
        raise Refused(f"one row of its inputs cannot be made: {' '.join(str(error).split())[:200]}") from error


def run_once(path: str, inputs: list[dict[str, Any]], mapped: "Mapped | None" = None) -> None:
    """Load the file in ONNX Runtime and answer one row. Raises `Refused` with the runtime's own words.

    With `mapped` it gets that for the file, and maps the file's weights. What fails so is loaded as serving does before
    it is refused.
    """
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")  # a second copy of the weights, for speed only
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
    allowed = GROWTH_BYTES + GROWTH * Path(path).stat().st_size
    source: str | bytes = path
    if mapped is not None:
        source = mapped.model
        allowed -= mapped.size  # serving has them in memory
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(Path(path).absolute().parent)
        )
    before, highest = resident_bytes()
    try:
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        after, peak = resident_bytes()
        grown = max(after, peak if peak > highest else 0) - before
        if grown > allowed:
            raise Refused(f"loaded, it takes {grown >> 20} MiB, which its file does not account for")
        session.run(None, row_of(inputs))
    except failures as error:
        if mapped is not None:
            return run_once(path, inputs)
        raise Refused(f"ONNX Runtime cannot run it: {' '.join(str(error).split())[:500]}") from error


def resident_bytes() -> tuple[int, int]:
    """Memory of this process: now, and at its highest so far."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@dataclass(frozen=True)
class Mapped:
    """A model, serialized, whose large initializers (`size` bytes in all) are said to lie in the file that it is of."""

    model: bytes
    size: int


def parse(data: bytes | memoryview) -> Any:
    """The ModelProto in `data`. Raises `Refused`."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise Refused("the file is not an ONNX model") from error
    return model


def read(path: str) -> tuple[Any, Mapped | None]:
    """The ModelProto at `path`, checked; its large initializers are empty where they need not be read.

    Raises `Refused`.
    """
    from services.registry.untrusted.weights import cut

    try:
        with (
            Path(path).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages,
            memoryview(pages) as data,
        ):
            if len(data) > MAX_BYTES:  # without its weights it would pass
                raise Refused("the file has 2 GiB or more, and ONNX Runtime loads none of that size")
            without = cut(data, WEIGHED_BYTES)
            model = parse(data if without is None else without[0])
            if without is not None and any(
                model.graph.initializer[weights.initializer].data_type not in ITEM_BYTES for weights in without[1]
            ):
                without, model = None, parse(data)
    except ValueError as error:  # an empty file
        raise Refused("the file is not an ONNX model") from error
    check_model(model)
    if without is None:
        return model, None
    mapped = parse(without[0])
    for weights in without[1]:
        tensor = mapped.graph.initializer[weights.initializer]
        measure(tensor, weights.size)
        tensor.ClearField("raw_data")
        tensor.data_location = tensor.EXTERNAL
        for key, value in (("location", Path(path).name), ("offset", weights.offset), ("length", weights.size)):
            tensor.external_data.add(key=key, value=str(value))
        model.graph.initializer[weights.initializer].dims[:] = [0]
    return model, Mapped(mapped.SerializeToString(), sum(weights.size for weights in without[1]))


def inspect(path: str) -> dict[str, Any]:
    """What the file at `path` takes and returns. Raises `Refused`."""
    import onnx

    model, mapped = read(path)
    lighten(model)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise Refused(f"the ONNX model is not valid: {' '.join(str(error).split())[:500]}") from error
    except ValueError as error:  # protobuf does not write more than 2 GiB
        raise Refused("the ONNX model has more than 2 GiB beside its weights") from error
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs, outputs = values_of(model.graph.input, initializers), values_of(model.graph.output, set())
    del model
    run_once(path, inputs, mapped)
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
    sys.path.append(str(Path(__file__).parents[3]))  # what `-I` leaves out
    import onnx  # noqa: F401 - most of the start, while there is no file yet
    import onnxruntime  # noqa: F401

    line = sys.stdin.readline()
    if line:
        main(*json.loads(line))
