"""A differential fuzz: generated requests, good and mutated, must get the same answers from both servers.

A case is a seed and an index: they decide a valid request, made from a model's signature, and the changes made to it.
`cases` makes them, `judge` compares the answers and knows the table of intended differences, `run` looks for cases that
differ without a reason and shrinks them, and `__main__` is the command line.
"""
