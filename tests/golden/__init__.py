"""Files that a release wrote, which today's code must read."""
