"""Loaded models, their life cycle, and the dataplane that every front calls."""
