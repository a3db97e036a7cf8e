"""Loaded models, their life cycle, and the dataplane that all fronts call."""
