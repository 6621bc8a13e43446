"""The smallest real service: it counts labels and publishes an alert for each. The kernel's tests run it."""
