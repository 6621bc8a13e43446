"""`python -m services.registry`"""

import sys

from services.kernel.service import run
from services.registry.app import build
from services.registry.settings import RegistrySettings

if __name__ == "__main__":
    sys.exit(run(lambda: build(RegistrySettings())))
