"""From a checkpoint to a model repository, with a numeric gate before anything is written."""
