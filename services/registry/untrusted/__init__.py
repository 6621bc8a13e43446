"""Files of unknown origin, looked into by capped child processes."""
