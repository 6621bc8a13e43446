"""Open Inference Protocol V2 over HTTP. Errors are `{"error": "..."}`.

`protocol.py` is the table of routes; `requests.py` and `answers.py` are its documents with the raw tensors behind them;
`infer.py` asks a model, `metadata.py` describes it.

Source: Open Inference Protocol V2 (KServe), and Triton's binary tensor data extension.
"""

from services.serving.v2.answers import encode_error
from services.serving.v2.protocol import ProtocolV2

__all__ = ["ProtocolV2", "encode_error"]
