"""`python -m services.serving`"""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it when it is imported
    from services.kernel.service import run
    from services.serving.app import build
    from services.serving.settings import ServingSettings

    sys.exit(run(lambda: build(ServingSettings())))
