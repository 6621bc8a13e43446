"""Make a version's smaller graph and measure it. Run as a script, in a process of its own with capped memory and time.

It reads one line on its standard input, a JSON list `[FOLDER, KIND, MEMORY_BYTES, CPU_SECONDS]`. The folder holds
`model.onnx`, which has passed the inspection, `baseline.parquet` and `signature.json`, of which nothing is trusted; it
writes `smaller.onnx` there and prints one JSON object: what was measured, or `{"refused": "a sentence"}`.
"""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

NICENESS = 10
SMALLER = "smaller.onnx"
SIGNATURE = "signature.json"
ROOM_BYTES = 16 << 20
"""The written graph may exceed the version's own by this much."""


def quantize(folder: Path, kind: str) -> dict[str, Any]:
    """Write the smaller graph and say what it loses."""
    import onnx
    import pyarrow as pa
    from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    from schemas.baseline_sample import read_baseline_sample
    from schemas.features import Signature
    from schemas.manifest import BASELINE_SAMPLE_NAME, MODEL_NAME
    from services.registry.quantization.measure import Unmeasurable, measure
    from services.registry.quantization.shrink import NothingToShrink, to_fp16, to_int8

    signature = Signature.model_validate_json((folder / SIGNATURE).read_bytes())
    try:
        sample = read_baseline_sample((folder / BASELINE_SAMPLE_NAME).read_bytes())
    except (pa.ArrowInvalid, OSError) as error:
        return {"refused": f"its baseline sample is not readable: {_brief(error)}"}
    try:
        model = onnx.load(folder / MODEL_NAME, load_external_data=False)
        smaller = {"int8": to_int8, "fp16": to_fp16}[kind](model)
        (folder / SMALLER).write_bytes(smaller.SerializeToString(deterministic=True))
        return measure(folder / MODEL_NAME, folder / SMALLER, signature, sample)
    except (NothingToShrink, Unmeasurable) as error:
        return {"refused": str(error)}
    except (
        *(state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented),
        *(state.RuntimeException, state.EPFail, onnx.shape_inference.InferenceError),
        *(DecodeError, EncodeError, ValueError, RuntimeError, TypeError, KeyError, IndexError, AssertionError),
    ) as error:  # the tools raise whatever they meet in a graph that they do not expect
        return {"refused": f"ONNX Runtime's tools cannot make {kind} of it: {_brief(error)}"}


def main(folder: str, kind: str, memory_bytes: int, cpu_seconds: int) -> None:
    """Cap this process, quantize, print."""
    import pyarrow as pa

    os.nice(NICENESS)
    pa.set_cpu_count(1)
    size = (Path(folder) / "model.onnx").stat().st_size
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + ROOM_BYTES, size + ROOM_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = quantize(Path(folder), kind)
    except MemoryError:
        answer = {"refused": "it asks for more memory than quantizing may take"}
    json.dump(answer, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # threads of pyarrow that still run would abort an orderly end


def _brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[3]))  # what `-I` leaves out
    main(*json.loads(sys.stdin.readline()))
