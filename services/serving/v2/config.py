"""A version's configuration in the shape of Triton's model configuration extension, as far as it has a meaning here."""

from typing import Any

from schemas.features import DType
from services.serving.served import ServedVersion

_ONNX = ("onnx_onnxv1", "onnxruntime")
_TENSORFLOW = ("tensorflow_savedmodel", "tensorflow")


def platform_of(served: ServedVersion) -> tuple[str, str]:
    """The protocol's name of the model's format, and the backend that runs it."""
    return _TENSORFLOW if served.provider.startswith("TensorFlow") else _ONNX


def config_of(served: ServedVersion, versions: list[str]) -> dict[str, Any]:
    """The configuration of `served`, one of the deployed `versions`. `dims` are without the batch axis.

    `max_batch_size` is the most rows of one request; `parameters` hold how many rows share a run and may wait.
    """
    signature, limits = served.signature, served.batcher.limits
    parameters = {
        "batch_rows": str(limits.batch_rows),
        "queue_rows": str(limits.queue_rows),
        "signature_sha256": signature.digest(),
    }
    if signature.classes:
        parameters["classes"] = ",".join(signature.classes)
    platform, backend = platform_of(served)
    return {
        "name": served.model_id,
        "platform": platform,
        "backend": backend,
        "version_policy": {"specific": {"versions": versions}},
        "max_batch_size": limits.request_rows,
        "input": [
            {
                "name": feature.name,
                "data_type": type_name(feature.dtype),
                "format": "FORMAT_NONE",
                "dims": list(feature.shape or (1,)),
                "optional": feature.nullable,
            }
            for feature in signature.inputs
        ],
        "output": [
            {"name": output.name, "data_type": type_name(output.dtype), "dims": list(output.shape or (1,))}
            for output in signature.outputs
        ],
        "dynamic_batching": {"max_queue_delay_microseconds": 0},
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
    }


def type_name(dtype: DType) -> str:
    """Triton's name of a datatype in configurations."""
    return "TYPE_STRING" if dtype is DType.STRING else f"TYPE_{dtype.v2}"
