"""The web page and the event stream: what the installation does, right now, in one look."""
