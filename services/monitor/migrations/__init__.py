"""Alembic revisions of the monitor's database."""
