"""Trimtab: keeps machine-learning models on course. What a person touches: the client, the commands, the page."""
