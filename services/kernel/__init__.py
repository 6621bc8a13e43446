"""Mechanism without any machine learning: settings, errors, database, outbox, inbox, bus, HTTP, storage, telemetry."""
