"""FasterTransformer's checkpoints: a directory of raw arrays and a config.ini, read and written.

`layout` is the table that both directions share. Knows no engine, no server and no Hugging Face file but config.json.
"""
