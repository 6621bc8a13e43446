"""`python -m services.trainer`."""

import sys

from services.kernel.service import run
from services.trainer.app import build

if __name__ == "__main__":
    sys.exit(run(build))
