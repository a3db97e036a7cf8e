"""Side-by-side benchmarks: `python -m benchmarks` runs all of them and prints ratios."""
