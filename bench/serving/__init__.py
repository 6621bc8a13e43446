"""The data plane beside the bare loop and the known servers; see `bench.serving.__main__`."""
