"""A Python model in a child process: the instance and its link on this side, the program on the other."""
