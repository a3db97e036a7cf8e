"""The transformer on CTranslate2: which specifications it can express, the model files, and the engine.

This engine decodes exactly as requested: anything that CTranslate2 would do differently is refused, with the reason.
Knows no file format but CTranslate2's own, and no other engine.
"""
