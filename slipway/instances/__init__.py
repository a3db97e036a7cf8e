"""The instances of a loaded model: inline or in threads of their own; the CPU plan."""
