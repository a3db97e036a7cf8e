"""One module per backend name of config.pbtxt, each imported only when a model uses it."""
