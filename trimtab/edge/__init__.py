"""The edge bundle: one version with a runner that needs only Python, ONNX Runtime and NumPy."""
