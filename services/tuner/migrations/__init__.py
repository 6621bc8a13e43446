"""Alembic revisions of the tuner's database."""
