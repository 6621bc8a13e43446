"""The services: one process each, one anatomy, and the kernel below them."""
