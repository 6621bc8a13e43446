"""`python -m services.serving`"""

import os
import sys

from pydantic import ValidationError

from services.kernel.errors import Misconfigured
from services.serving.settings import ServingSettings


def main() -> int:
    """Run serving, as one process or as several that share the port; the exit status."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is imported; workers inherit it
    if _several_are_wanted():
        from services.serving.workers import supervise  # without what the workers themselves import

        return supervise(ServingSettings())
    from services.kernel.service import run
    from services.serving.app import build

    return run(lambda: build(ServingSettings()))


def _several_are_wanted() -> bool:
    try:
        settings = ServingSettings()
    except (ValidationError, Misconfigured):
        return False  # a process on its own says what is wrong
    return settings.serving_workers > 1 and settings.serving_worker is None


if __name__ == "__main__":
    sys.exit(main())
