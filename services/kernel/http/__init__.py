"""HTTP for every process: problem documents, limits, keys, health, metrics. HTTP status codes live here only."""
