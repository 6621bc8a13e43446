"""The probe's database revisions."""
