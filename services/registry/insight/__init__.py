"""What a version is, in documents: card, lineage, comparison."""
