"""From the ONNX file that MLflow keeps to the one that is registered: whole, of tensors, with the columns as features.

MLflow's ONNX flavour writes large tensors into files of their own unless it is told not to, its models often answer
with a list of mappings (ZipMap), and the columns that its signature names are one matrix in the graph.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from services.kernel.errors import InvalidInput, TooLarge
from services.registry.untrusted.graph import tensors_of
from trimtab.conversion.graph_names import real_inputs, rename
from trimtab.mlflow.mlmodel import Column

MAX_GRAPH_BYTES = (1 << 31) - 1
"""Size of an ONNX file with all its data; protobuf knows no larger message."""

_KINDS = {"boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FLOAT", "double": "DOUBLE"}
"""MLflow's names of the types that a matrix of numbers is made of."""
_PREFIX = "mlflow/"


def read_graph(path: Path) -> Any:
    """The ModelProto at `path`, without data that lies in other files. Raises `InvalidInput`."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if path.stat().st_size > MAX_GRAPH_BYTES:
        raise TooLarge(f"the graph has more than {MAX_GRAPH_BYTES} bytes")
    try:
        return onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        raise InvalidInput("the model's graph is not an ONNX file") from error


def write_graph(model: Any, path: Path) -> None:
    """Write the ModelProto to `path`. Raises `TooLarge`."""
    from google.protobuf.message import EncodeError

    try:
        data = model.SerializeToString(deterministic=True)
    except (ValueError, EncodeError) as error:
        raise TooLarge(f"the graph with all its data has more than {MAX_GRAPH_BYTES} bytes") from error
    path.write_bytes(data)


def embed(model: Any, fetch: Callable[[str], Path]) -> bool:
    """Put the data that lies in other files into `model`; whether there was any. `fetch` gives a file by its name.

    Raises `InvalidInput` for a tensor that reaches beyond its file, and `TooLarge`.
    """
    import onnx

    outside = [
        (tensor, *_place(tensor, fetch))
        for part in (model.graph, *model.functions)
        for tensor in tensors_of(part)
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    if sum(length for _, _, _, length in outside) > MAX_GRAPH_BYTES:
        raise TooLarge(f"the graph with all its data has more than {MAX_GRAPH_BYTES} bytes")
    for tensor, path, offset, length in outside:
        with path.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return bool(outside)


def without_mappings(model: Any) -> tuple[str, ...] | None:
    """Let an output that is a list of mappings (ZipMap) be the tensor it is made of; the classes that were its keys."""
    from onnx import TensorProto, helper

    classes: tuple[str, ...] | None = None
    zipped = {node.output[0]: node for node in model.graph.node if node.op_type == "ZipMap" and node.output}
    for value in model.graph.output:
        node = zipped.get(value.name)
        if node is None or len(node.input) != 1:
            continue
        keys = tuple(_key(key) for item in node.attribute for key in (*item.strings, *item.ints))
        model.graph.node.remove(node)
        value.CopyFrom(helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, ["batch", len(keys)]))
        classes = keys or classes
    return classes


def join_columns(model: Any, columns: Sequence[Column]) -> bool:
    """Let the one matrix that `model` takes be made of named columns, in their order; whether it could be.

    A floating column has the matrix's own type, others have theirs and are cast.
    """
    from onnx import TensorProto, helper

    inputs = real_inputs(model.graph)
    names = [column.name for column in columns]
    if len(inputs) != 1 or not columns or len(set(names)) < len(names) or not _fit(inputs[0], columns):
        return False
    matrix = inputs[0]
    element = matrix.type.tensor_type.elem_type
    _make_room(model, set(names))
    nodes, parts, fed = [], [], []
    for place, column in enumerate(columns):
        own = getattr(TensorProto, _KINDS[column.kind])
        own = element if column.kind in ("float", "double") else own
        fed.append(helper.make_tensor_value_info(column.name, own, ["batch", 1]))
        parts.append(column.name if own == element else f"{_PREFIX}column{place}")
        if own != element:
            nodes.append(helper.make_node("Cast", [column.name], [parts[-1]], to=element))
    nodes.append(helper.make_node("Concat", parts, [matrix.name], axis=1))
    later = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *later])
    model.graph.input.remove(matrix)
    model.graph.input.extend(fed)
    if all(item.domain not in ("", "ai.onnx") for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 13))
    return True


def _fit(matrix: Any, columns: Sequence[Column]) -> bool:
    """Whether a graph's input is a matrix of floating numbers with one column for each of `columns`."""
    from onnx import TensorProto

    tensor = matrix.type.tensor_type
    dims = tensor.shape.dim
    return (
        tensor.elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE)
        and len(dims) == 2
        and (dims[1].dim_value or len(columns)) == len(columns)
        and all(column.kind in _KINDS and 1 <= len(column.name) <= 256 for column in columns)
    )


def _make_room(model: Any, names: set[str]) -> None:
    """Give every value of the graph that is called as a column another name."""
    graph = model.graph
    taken = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    taken |= {name for node in graph.node for name in node.output}
    rename(graph, {name: f"{_PREFIX}{name}" for name in taken & names})
    del graph.value_info[:]  # what it says of those names is of others now


def _place(tensor: Any, fetch: Callable[[str], Path]) -> tuple[Path, int, int]:
    """Where a tensor's data lies: file, offset, length. Raises `InvalidInput`."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    path = fetch(told.get("location", ""))
    size = path.stat().st_size
    offset = _number(tensor, told.get("offset", "0"))
    length = _number(tensor, told["length"]) if "length" in told else size - offset
    if length < 0 or offset + length > size:
        raise InvalidInput(f"the tensor {tensor.name[:80]!r} reaches beyond the end of the file that holds it")
    return path, offset, length


def _number(tensor: Any, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidInput(f"the tensor {tensor.name[:80]!r} lies at {text[:40]!r}, which is no number of bytes")
    return int(text)


def _key(key: bytes | int) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)
