"""What a version must pass before a stage: policies, approvals, checks, the compliance checklist."""
