"""Drafts configurations from model files, with reasons as comments."""
