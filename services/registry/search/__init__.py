"""Searching versions: from a filter in words to one page of rows, in bounded time whatever is asked."""
