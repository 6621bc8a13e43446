"""An inference answer: its JSON part and the raw tensors behind it; and the protocol's error document.

The answer carries the platform's own facts in the protocol's `parameters`: `prediction_id` (of the first row; the ids
of the rows after it count up), `route` and, when it happened, `fallback`.
"""

from typing import Any

import msgspec

from services.kernel.errors import TrimtabError
from services.serving import tensors
from services.serving.exchange import JSON
from services.serving.runtime import RuntimeFailed
from services.serving.served import Answer


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


def encode_answer(answer: Answer, wanted: list[tuple[str, bool]], request_id: str | None) -> tuple[bytes, list[bytes]]:
    """The JSON part and the raw tensors of `wanted` (name, whether binary) in that order.

    Raises `RuntimeFailed` when a fallback answered that has not these outputs.
    """
    served, batch = answer.served, answer.batch
    parameters: dict[str, Any] = {"prediction_id": answer.prediction_id(0), "route": answer.route}
    if answer.fallback:
        parameters["fallback"] = True
    names = served.output_names
    outputs: list[_OutputTensor] = []
    blobs: list[bytes] = []
    stop = answer.start + answer.count
    for name, as_binary in wanted:
        if name not in names:
            raise RuntimeFailed(f"the fallback {served.version} has no output {name!r}")
        place = names.index(name)
        whole = batch.outputs[place]
        tensor = _OutputTensor(name, [answer.count, *whole.shape[1:]], tensors.datatype_of(whole.dtype))
        if as_binary:
            blobs.append(tensors.to_binary(whole[answer.start : stop]))
            tensor.parameters = {"binary_data_size": len(blobs[-1])}
        elif answer.count == 1:
            tensor.data = batch.output_rows[place][answer.start]
        else:
            tensor.data = [value for row in batch.output_rows[place][answer.start : stop] for value in row]
        outputs.append(tensor)
    return encode(_Response(served.model_id, served.version, parameters, outputs, request_id)), blobs
