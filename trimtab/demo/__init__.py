"""The story that `trimtab demo` plays: real data, real broker, real services, every step verified."""
