"""Alembic revisions of the trainer's database."""
