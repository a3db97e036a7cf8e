"""Tests of the grammars that texts follow."""
