"""Conversion of models that generate text, and (`served.py`) what the models it writes run on."""
