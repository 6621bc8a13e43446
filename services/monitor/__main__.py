"""`python -m services.monitor`."""

import sys

from services.kernel.service import run
from services.monitor.app import build
from services.monitor.settings import MonitorSettings

if __name__ == "__main__":
    sys.exit(run(lambda: build(MonitorSettings())))
