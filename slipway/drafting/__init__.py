"""Drafts configurations from model files, with the reasons in comments."""
