"""The registry with 100,000 versions, and MLflow beside it: `python -m bench.registry`."""
