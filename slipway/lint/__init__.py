"""Checks model repositories without serving them: finds what is wrong or slow, and makes the safe fixes."""
