"""Checkpoints whose weights are not stored as plain arrays, as the plain arrays that they stand for."""
