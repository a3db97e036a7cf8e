"""Runs the part of a command that opens foreign files in a child process, with limits and without a network."""
