"""The closed loop: drift is noticed, a challenger is trained, proved, rolled out, and kept or rolled back."""
