"""Directories of models: what is in them, what changed, which versions a policy picks. Knows nothing of loading."""
