"""The lines of a file through a model on a server: batched, concurrent, in order, in bounded memory, resumable."""
