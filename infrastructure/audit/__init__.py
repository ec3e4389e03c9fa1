"""What proves the log: a hash chain over it, signed checkpoints, verification, and exports for auditors."""
