"""What the converting commands do in the child process that opens foreign files (confined/)."""
