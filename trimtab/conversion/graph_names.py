"""Walking and renaming of ONNX graphs, subgraphs included; no file is read and nothing is run."""

from collections.abc import Iterator, Mapping
from typing import Any


def nodes_of(graph: Any) -> Iterator[Any]:
    """Every node of a GraphProto and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                yield from nodes_of(subgraph)


def real_inputs(graph: Any) -> list[Any]:
    """The inputs that a caller must give: those without an initial value."""
    initial = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initial]


def rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give every value called by a key of `names` the name it maps to, wherever it is written or read."""
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    for node in graph.node:
        for listed in (node.input, node.output):
            listed[:] = [names.get(name, name) for name in listed]
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                rename(subgraph, names)


def number(graph: Any, prefix: str) -> None:
    """Call every value and node of `graph` by `prefix` and a number in the order of appearance.

    Converters count through a whole process or draw from sets; with this the same model is the same bytes.
    """
    names: dict[str, str] = {}
    _collect(graph, names, prefix)
    rename(graph, names)
    for place, node in enumerate(nodes_of(graph)):
        node.name = f"{prefix}node{place}"
        node.doc_string = ""
    del graph.value_info[:]


def without_zipmaps(graph: Any) -> None:
    """Let outputs that are a list of mappings (scikit-learn's converters like them) be the tensors they are made of."""
    zipped = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "ZipMap"}
    kept = [node for node in graph.node if node.op_type != "ZipMap"]
    del graph.node[:]
    graph.node.extend(kept)
    for value in graph.output:
        value.name = zipped.get(value.name, value.name)


def _collect(graph: Any, names: dict[str, str], prefix: str) -> None:
    written = [
        *(value.name for value in graph.input),
        *(tensor.name for tensor in graph.initializer),
        *(sparse.values.name for sparse in graph.sparse_initializer),
    ]
    for node in graph.node:
        written.extend(node.output)
    for name in written:
        if name:
            names.setdefault(name, f"{prefix}{len(names)}")
    for node in graph.node:
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                _collect(subgraph, names, prefix)
