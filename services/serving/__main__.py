"""`python -m services.serving`"""

import sys

from services.kernel.service import run
from services.serving.app import build
from services.serving.settings import ServingSettings

if __name__ == "__main__":
    sys.exit(run(lambda: build(ServingSettings())))
