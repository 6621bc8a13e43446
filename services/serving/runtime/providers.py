"""CPU or GPU: what ONNX Runtime offers here, what is asked for, and what is said when the two differ."""

from collections.abc import Sequence

import onnxruntime

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


def chosen(enable_gpu: bool, offered: Sequence[str] | None = None) -> list[str]:
    """The execution providers of a session, the preferred first; `offered` is what ONNX Runtime has here."""
    offered = onnxruntime.get_available_providers() if offered is None else offered
    return [CUDA, CPU] if enable_gpu and CUDA in offered else [CPU]


def gpu_note(enable_gpu: bool, offered: Sequence[str] | None = None) -> str | None:
    """What to tell whoever asked for the GPU and does not get it; None where there is nothing to tell."""
    offered = onnxruntime.get_available_providers() if offered is None else offered
    if not enable_gpu or CUDA in offered:
        return None
    return (
        "enableGPU: this ONNX Runtime has no CUDA provider (it offers "
        f"{', '.join(offered)}), so ONNX models run on the CPU: install onnxruntime-gpu"
    )
