"""`python -m services.serving`"""

import sys

from pydantic import ValidationError

from services.kernel.errors import Misconfigured
from services.kernel.service import run
from services.serving.settings import ServingSettings


def main() -> int:
    """Run serving, as one process or as several that share the port; the exit status."""
    try:
        settings = ServingSettings()
    except (ValidationError, Misconfigured):
        settings = None  # `run` says what is wrong
    if settings is not None and settings.serving_workers > 1 and settings.serving_worker is None:
        from services.serving.workers import supervise

        return supervise(settings)
    from services.serving.app import build

    return run(lambda: build(ServingSettings()))


if __name__ == "__main__":
    sys.exit(main())
