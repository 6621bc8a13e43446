"""Serving processes on the session's broker."""

from tests.integration.serving.conftest import client, cluster

__all__ = ["client", "cluster"]
