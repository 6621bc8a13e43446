"""What crosses a boundary: messages, signatures, the prediction log. Pure models and codecs, no I/O."""
