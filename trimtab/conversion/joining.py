"""From a converter's graph to the one that is registered: raw named features in front, the platform's output behind.

Inputs are `[batch, 1]` a scalar feature, `[batch, *shape]` a tensor. The one output is `probabilities`
`[batch, classes]` (float32) or `label` `[batch]` (string) of a classifier, or `value` `[batch, 1]` (float32) of a
regression model.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from schemas.features import DType, Feature, OutputRole, Signature
from trimtab.conversion.errors import NotConvertible
from trimtab.conversion.graph_names import nodes_of, number, real_inputs, rename, without_zipmaps
from trimtab.conversion.libraries import refused
from trimtab.conversion.subject import Draft, Outputs

IR_VERSION = 9
OPSET, ML_OPSET = 15, 3
"""What the converters are asked for: the newest that all of them know."""

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Operator sets that the platform serves."""

INNER, FRONT, BACK = "trimtab:model/", "trimtab:front/", "trimtab:back/"


def used_features(draft: Draft) -> frozenset[str]:
    """The features that the converter's graph reads."""
    graph = draft.graph.graph
    read = {name for node in nodes_of(graph) for name in node.input} | {value.name for value in graph.output}
    inputs = zip(real_inputs(graph), draft.slots, strict=True)
    return frozenset(name for value, slot in inputs if value.name in read for name in slot.features)


def joined(draft: Draft, signature: Signature) -> bytes:
    """The graph of `signature` that answers as `draft` does, serialized. The same draft gives the same bytes.

    Raises `NotConvertible` for a graph that the platform does not serve.
    """
    import onnx
    from onnx import helper

    graph = onnx.GraphProto()
    graph.CopyFrom(draft.graph.graph)
    _check_operators(graph, draft.graph.functions)
    given = [value.name for value in graph.output]
    without_zipmaps(graph)
    number(graph, INNER)
    outputs: dict[str, str] = dict(zip(given, (value.name for value in graph.output), strict=True))
    features = {feature.name: feature for feature in signature.inputs}
    front, back = _Nodes(FRONT), _Nodes(BACK)
    fed: dict[str, str] = {
        value.name: front.slot([features[name] for name in slot.features], slot.dtype)
        for value, slot in zip(real_inputs(graph), draft.slots, strict=True)
        if features.keys() >= set(slot.features)
    }
    rename(graph, fed)
    back.finish({name: fed.get(inner, inner) for name, inner in outputs.items()}, draft.outputs, signature)
    whole = helper.make_graph(
        [*front.nodes, *graph.node, *back.nodes],
        "trimtab",
        [_info(feature.name, feature.dtype, feature.shape or (1,)) for feature in signature.inputs],
        [_info(output.name, output.dtype, _declared(output.role, output.shape)) for output in signature.outputs],
        [*front.constants, *graph.initializer, *back.constants],
        sparse_initializer=list(graph.sparse_initializer),
    )
    versions = opset_versions(draft.graph)
    model = helper.make_model(
        whole,
        opset_imports=[helper.make_opsetid(domain, versions[domain]) for domain in sorted(versions)],
        functions=list(draft.graph.functions),
        ir_version=IR_VERSION,
        producer_name="trimtab",
    )
    try:
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))
    except (onnx.checker.ValidationError, ValueError) as error:
        raise refused("the converter made a graph that is not valid ONNX", error) from error


def opset_versions(*models: Any) -> dict[str, int]:
    """The newest version of each operator set that the `models` name, at least the one converters were asked for."""
    versions = {"": OPSET, "ai.onnx.ml": ML_OPSET}
    for item in (item for model in models for item in model.opset_import):
        domain = "" if item.domain == "ai.onnx" else item.domain
        versions[domain] = max(item.version, versions.get(domain, 0))
    return versions


def _check_operators(graph: Any, functions: Iterable[Any]) -> None:
    own = {(function.domain, function.name) for function in functions}
    for node in nodes_of(graph):
        if node.domain not in KNOWN_DOMAINS and (node.domain, node.op_type) not in own:
            raise NotConvertible(
                f"the converter needs the operator {node.op_type} of {node.domain}, which is not served: only those "
                "of ai.onnx and ai.onnx.ml are. Make that step (for text: the vectorizer) part of what calls predict"
            )


def _info(name: str, dtype: DType, dims: Sequence[int]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, _element(dtype), ["batch", *dims])


def _declared(role: OutputRole, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) if role is OutputRole.VALUE else shape


def _element(dtype: DType) -> int:
    from onnx import TensorProto

    names = {DType.FLOAT32: "FLOAT", DType.FLOAT64: "DOUBLE"}
    return int(getattr(TensorProto, names.get(dtype, dtype.value.upper())))


class _Nodes:
    """Nodes and constants of our own on one side of the converter's graph."""

    def __init__(self, side: str) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._side = side

    def slot(self, features: Sequence[Feature], dtype: DType) -> str:
        """What feeds one input of the converter's graph."""
        parts = [
            feature.name if feature.dtype is dtype else self._add("Cast", [feature.name], to=_element(dtype))
            for feature in features
        ]
        return parts[0] if len(parts) == 1 else self._add("Concat", parts, axis=1)

    def finish(self, given: dict[str, str], outputs: Outputs, signature: Signature) -> None:
        """The signature's one output from those that the converter's graph has."""
        (output,) = signature.outputs
        if output.role is OutputRole.LABEL:
            assert outputs.label is not None
            flat = self._reshaped(given[outputs.label], [-1])
            kind = "keys_strings" if isinstance(outputs.label_keys[0], str) else "keys_int64s"
            keys = {kind: list(outputs.label_keys), "values_strings": list(signature.classes or ())}
            self._add("LabelEncoder", [flat], output.name, "ai.onnx.ml", **keys)
            return
        named = outputs.value if output.role is OutputRole.VALUE else outputs.probabilities
        assert named is not None
        numbers = self._add("Cast", [given[named]], to=_element(DType.FLOAT32))
        if output.role is OutputRole.VALUE:
            self._reshaped(numbers, [-1, 1], output.name)
        elif outputs.sigmoid:
            column = self._reshaped(numbers, [-1, 1])
            other = self._add("Sub", [self._constant(np.ones((), np.float32)), column])
            self._add("Concat", [other, column], output.name, axis=1)
        else:
            self._add("Identity", [numbers], output.name)

    def _reshaped(self, source: str, shape: list[int], output: str | None = None) -> str:
        return self._add("Reshape", [source, self._constant(np.array(shape, np.int64))], output)

    def _constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"{self._side}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _add(
        self, operator: str, inputs: Iterable[str], output: str | None = None, domain: str = "", **attributes: Any
    ) -> str:
        from onnx import helper

        name = f"{self._side}{len(self.nodes)}"
        written = output or name
        node = helper.make_node(operator, list(inputs), [written], name=name, domain=domain, **attributes)
        self.nodes.append(node)
        return written
