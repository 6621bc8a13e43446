"""`python -m services.tuner`."""

import sys

from services.kernel.service import run
from services.tuner.app import build

if __name__ == "__main__":
    sys.exit(run(build))
