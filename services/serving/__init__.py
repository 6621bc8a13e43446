"""Serving: the data plane on the public port, and the gateway to every other service."""
