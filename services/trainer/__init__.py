"""The trainer: jobs in, verified model versions out. TensorFlow lives only in its child processes."""
