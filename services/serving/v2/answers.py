"""An inference answer: its JSON part and the raw tensors behind it; and the protocol's error document.

The answer carries the platform's own facts in the protocol's `parameters`: `prediction_id` (of the first row; the ids
of the rows after it count up), `route` and, when it happened, `cached`, `fallback` and `fallback_by`.
"""

from typing import Any

import msgspec

from services.kernel.errors import TrimtabError
from services.serving import tensors
from services.serving.exchange import JSON
from services.serving.runtime import RuntimeFailed
from services.serving.served import Answer
from services.serving.v2.classification import best_classes
from services.serving.v2.requests import WantedOutput, not_in_json


class _OutputTensor(msgspec.Struct, omit_defaults=True, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, int] | None = None


class _Response(msgspec.Struct, omit_defaults=True, gc=False):
    model_name: str
    model_version: str
    parameters: dict[str, Any]
    outputs: list[_OutputTensor]
    id: str | None = None


encode = msgspec.json.Encoder().encode


def encode_error(status: int, error: TrimtabError) -> tuple[int, bytes, bytes]:
    """The protocol's error document; whatever is wrong with the input is 400 there."""
    return 400 if status == 422 else status, JSON, encode({"error": error.detail})


def in_json(answer: Answer, wanted: list[WantedOutput]) -> int:
    """How many elements the answer's JSON part holds, outputs in raw data left out; 0 for a single row."""
    if answer.count == 1:
        return 0
    names, outputs = answer.served.output_names, answer.batch.outputs
    asked = [outputs[names.index(o.name)] for o in wanted if not o.as_binary and o.name in names]
    return sum(answer.count * (output.size // len(output)) for output in asked)


def encode_answer(answer: Answer, wanted: list[WantedOutput], request_id: str | None) -> tuple[bytes, list[bytes]]:
    """The JSON part and the raw tensors of `wanted`, in that order.

    Raises `RuntimeFailed` when a fallback answered that has not these outputs, and `InvalidInput` for an output that
    can't be answered as it is wanted.
    """
    served, batch = answer.served, answer.batch
    parameters: dict[str, Any] = {"prediction_id": answer.prediction_id(0), "route": answer.route}
    if answer.cached:
        parameters["cached"] = True
    if answer.fallback_by is not None:
        parameters["fallback"] = True
        parameters["fallback_by"] = answer.fallback_by
    names = served.output_names
    outputs: list[_OutputTensor] = []
    blobs: list[bytes] = []
    stop = answer.start + answer.count
    for output in wanted:
        if output.name not in names:
            raise RuntimeFailed(f"the fallback {served.version} has no output {output.name!r}")
        place = names.index(output.name)
        whole = batch.outputs[place]
        if output.classes:
            whole = best_classes(output, whole[answer.start : stop], served.signature)
            tensor = _OutputTensor(output.name, list(whole.shape), "BYTES")
            if not output.as_binary:
                tensor.data = whole.reshape(-1).tolist()
        else:
            shape, datatype = batch.described[place]
            tensor = _OutputTensor(output.name, [answer.count, *shape], datatype)
            if output.as_binary:
                whole = whole[answer.start : stop]
            elif tensor.datatype == "FP16":
                raise not_in_json(output)
            elif answer.count == 1:
                tensor.data = batch.output_rows[place][answer.start]
            else:
                tensor.data = [value for row in batch.output_rows[place][answer.start : stop] for value in row]
        if output.as_binary:
            blobs.append(tensors.to_binary(whole))
            tensor.parameters = {"binary_data_size": len(blobs[-1])}
        outputs.append(tensor)
    return encode(_Response(served.model_id, served.version, parameters, outputs, request_id)), blobs
