"""File formats of checkpoints to a transformer's specification and weights, and back. Knows no engine."""
