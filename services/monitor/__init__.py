"""The monitor: drift, performance and skew of what is served, counted once and judged honestly."""
