"""From a checkpoint to a verified entry of a model repository."""
