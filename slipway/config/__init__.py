"""config.pbtxt and the server's options: read, complete, normalise, validate."""
