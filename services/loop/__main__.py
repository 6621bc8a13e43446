"""Run the loop as a process: `python -m services.loop`."""

import sys

from services.kernel.service import run
from services.loop.app import build
from services.loop.settings import LoopSettings

sys.exit(run(lambda: build(LoopSettings())))
