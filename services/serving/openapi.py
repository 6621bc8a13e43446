"""One OpenAPI document for the public port, merged from those of all services. Pure but for its constants."""

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from schemas.edge import EdgeReceipt, EdgeUpload

_NAMED = {"type": "object", "additionalProperties": True}
_ROW = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": t} for t in ("number", "string", "boolean", "null", "array")]},
    "description": "feature name -> value, as the model's signature says",
}
_OPTIONS = {
    "modelId": {"type": "string"},
    "version": {"type": "string", "description": "a deployed version; none: the routes decide"},
    "timeoutMs": {"type": "number", "exclusiveMinimum": 0, "maximum": 3_600_000},
    "priority": {"type": "string", "enum": ["high", "normal", "low"]},
    "cache": {"type": "boolean", "description": "whether a cached answer will do, and this one may be kept"},
}
_EXPLAIN = {
    "method": {"type": "string", "enum": ["shapley", "lime"], "default": "shapley"},
    "class": {"type": "string", "description": "whose probability is explained; none: the predicted class's"},
    "samples": {"type": "integer", "minimum": 2, "description": "coalitions (shapley) or perturbed rows (lime)"},
    "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295, "default": 0},
}
_EXPLANATION = {
    "type": "object",
    "properties": {
        "model_id": {"type": "string"},
        "version": {"type": "string"},
        "prediction": {"anyOf": [{"type": "string"}, {"type": "number"}]},
        "probabilities": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
        "kind": {"type": "string", "enum": ["probability", "indicator", "value"]},
        "class": {"type": ["string", "null"]},
        "base_value": {"type": "number"},
        "output": {"type": "number"},
        "contributions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"feature": {"type": "string"}, "value": {}, "contribution": {"type": "number"}},
            },
        },
        "additivity_error": {"type": "number", "description": "|base_value + sum of contributions - output|"},
        "fidelity": {"type": ["number", "null"], "description": "lime: the local model's weighted R squared"},
        "quantized": {"type": ["string", "null"], "description": "the kind of smaller graph that is explained"},
        "method": {"type": "string"},
        "algorithm": {"type": "string", "enum": ["exact", "permutation", "ridge"]},
        "samples": {"type": "integer"},
        "seed": {"type": "integer"},
        "background_rows": {"type": "integer"},
        "elapsed_ms": {"type": "number"},
    },
}
_PREDICTION = {
    "type": "object",
    "properties": {
        "prediction": {"anyOf": [{"type": "string"}, {"type": "number"}]},
        "probabilities": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
        "model_id": {"type": "string"},
        "version": {"type": "string"},
        "route": {"type": "string"},
        "prediction_id": {"type": "string"},
        "latency_ms": {"type": "number"},
        "cached": {"type": "boolean"},
        "fallback": {"type": "boolean"},
        "fallback_by": {"enum": ["version", "model", "constant", None]},
        "explanation": {"anyOf": [_EXPLANATION, {"type": "null"}], "description": "where it was asked for"},
        "explanation_error": {
            "type": "object",
            "description": "why there is none; the prediction stands",
            "properties": {"code": {"type": "string"}, "detail": {"type": "string"}},
        },
    },
}


def _operation(summary: str, request: dict[str, Any] | None, answer: dict[str, Any], tag: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": "The answer", "content": {"application/json": {"schema": answer}}},
            "default": {"description": 'A problem document (RFC 9457), or `{"error": ...}` under /v2'},
        },
    }
    if request is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": request}}}
    return operation


def _parameters(*names: str) -> list[dict[str, Any]]:
    return [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names]


DATA_PLANE: dict[str, dict[str, Any]] = {
    "/mlops/predict": {
        "post": _operation(
            "Predict one row",
            {
                "type": "object",
                "required": ["modelId", "input"],
                "properties": {
                    **_OPTIONS,
                    "input": _ROW,
                    "explain": {"anyOf": [{"type": "boolean"}, {"type": "object", "properties": _EXPLAIN}]},
                },
            },
            _PREDICTION,
            "predictions",
        )
    },
    "/mlops/explain": {
        "post": _operation(
            "Explain one row, or several",
            {
                "type": "object",
                "required": ["modelId"],
                "properties": {
                    "modelId": {"type": "string"},
                    "version": {
                        "type": "string",
                        "description": "a version or @alias; none: as most traffic is served",
                    },
                    "input": _ROW,
                    "inputs": {"type": "array", "minItems": 1, "items": _ROW},
                    **_EXPLAIN,
                },
            },
            {
                "anyOf": [
                    _EXPLANATION,
                    {
                        "type": "object",
                        "properties": {"explanations": {"type": "array", "items": _EXPLANATION}},
                    },
                ]
            },
            "explanations",
        )
    },
    "/mlops/predict/batch": {
        "post": _operation(
            "Predict many rows",
            {
                "type": "object",
                "required": ["modelId", "inputs"],
                "properties": {**_OPTIONS, "inputs": {"type": "array", "minItems": 1, "items": _ROW}},
            },
            {"type": "object", "properties": {"predictions": {"type": "array", "items": _PREDICTION}}},
            "predictions",
        )
    },
    "/mlops/predictions": {
        "post": _operation(
            "Hand over predictions that were made at the edge",
            {"$ref": "#/components/schemas/EdgeUpload"},
            {"$ref": "#/components/schemas/EdgeReceipt"},
            "predictions",
        )
    },
    "/v2": {"get": _operation("The server (Open Inference Protocol V2)", None, _NAMED, "v2")},
    "/v2/health/live": {"get": _operation("The server lives", None, _NAMED, "v2")},
    "/v2/health/ready": {"get": _operation("Every wanted model answers", None, _NAMED, "v2")},
    "/v2/models/{model_id}": {
        "get": _operation("A model's inputs and outputs", None, _NAMED, "v2"),
        "parameters": _parameters("model_id"),
    },
    "/v2/models/{model_id}/ready": {
        "get": _operation("The model answers", None, _NAMED, "v2"),
        "parameters": _parameters("model_id"),
    },
    "/v2/models/stats": {"get": _operation("Statistics of every model in memory", None, _NAMED, "v2")},
    "/v2/models/{model_id}/stats": {
        "get": _operation("Statistics of a model's versions", None, _NAMED, "v2"),
        "parameters": _parameters("model_id"),
    },
    "/v2/models/{model_id}/config": {
        "get": _operation("A model's configuration", None, _NAMED, "v2"),
        "parameters": _parameters("model_id"),
    },
    "/v2/repository/index": {
        "post": _operation(
            "The versions that are wanted or answer here, with their states",
            {"type": "object", "properties": {"ready": {"type": "boolean"}}},
            {"type": "array", "items": _NAMED},
            "v2",
        )
    },
    "/v2/repository/models/{model_id}/load": {
        "post": _operation("Take a deployed model into this replica's memory", _NAMED, _NAMED, "v2"),
        "parameters": _parameters("model_id"),
    },
    "/v2/repository/models/{model_id}/unload": {
        "post": _operation("Put a deployed model out of this replica's memory", _NAMED, _NAMED, "v2"),
        "parameters": _parameters("model_id"),
    },
    "/v2/models/{model_id}/infer": {
        "post": _operation("Infer, JSON or binary tensors", _NAMED, _NAMED, "v2"),
        "parameters": _parameters("model_id"),
    },
    "/v2/models/{model_id}/versions/{version}/infer": {
        "post": _operation("Infer with one version", _NAMED, _NAMED, "v2"),
        "parameters": _parameters("model_id", "version"),
    },
}
"""The paths that no framework describes."""

SCHEMAS: dict[str, Any] = models_json_schema(
    [(EdgeUpload, "validation"), (EdgeReceipt, "serialization")], ref_template="#/components/schemas/{model}"
)[1]["$defs"]
"""The schemas that those paths name."""

_PRIVATE = ("/healthz", "/readyz", "/metrics", "/internal/")


def merge(own: dict[str, Any], others: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    """The public document: serving's `own`, the data plane, and every other service's public paths.

    A schema name that two services use for different things gets the service's name before it.
    """
    merged: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Trimtab", "version": own.get("info", {}).get("version", "0")},
        "paths": dict(DATA_PLANE),
        "components": {"schemas": {**SCHEMAS, **own.get("components", {}).get("schemas", {})}},
    }
    _add_paths(merged, own, {})
    for service, document in others.items():
        if document is None:
            continue
        schemas = merged["components"]["schemas"]
        renamed: dict[str, str] = {}
        for name, schema in document.get("components", {}).get("schemas", {}).items():
            if name in schemas and schemas[name] != schema:
                renamed[name] = f"{service}_{name}"
            schemas[renamed.get(name, name)] = schema
        for new in renamed.values():
            schemas[new] = _renamed(schemas[new], renamed)
        _add_paths(merged, document, renamed)
    return merged


def _add_paths(merged: dict[str, Any], document: dict[str, Any], renamed: dict[str, str]) -> None:
    for path, item in document.get("paths", {}).items():
        if not path.startswith(_PRIVATE):
            merged["paths"].setdefault(path, _renamed(item, renamed))


def _renamed(node: Any, renamed: dict[str, str]) -> Any:
    if not renamed:
        return node
    if isinstance(node, dict):
        return {
            key: f"#/components/schemas/{renamed.get(value.rpartition('/')[2], value.rpartition('/')[2])}"
            if key == "$ref" and isinstance(value, str) and value.startswith("#/components/schemas/")
            else _renamed(value, renamed)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_renamed(item, renamed) for item in node]
    return node
