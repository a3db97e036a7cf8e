"""The transformer on CTranslate2: which specifications it can express, the model files, and the engine.

Everything here holds for exact decoding only: what CTranslate2 would do differently is refused with its reason. Knows
no file format but CTranslate2's own, and not the other engines.
"""
