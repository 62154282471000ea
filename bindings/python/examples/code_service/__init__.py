"""A small code-running service on top of SandboxSet: many jobs, few sandboxes, nothing left behind."""
