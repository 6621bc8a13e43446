"""The loop's database revisions."""
