"""The registry: the book of record of models, versions, stages, deployments and API keys."""
