"""Fuzzing of every function that reads bytes from outside: each returns, or raises `SlipwayError`, and nothing else."""
