"""Convert checkpoint formats to a transformer's specification and weights, and back. Knows no engine."""
