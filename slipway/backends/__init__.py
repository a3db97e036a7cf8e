"""One folder per backend name of config.pbtxt, each imported only when a model names it."""
