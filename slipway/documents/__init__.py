"""Documents: what happens to a page before and after a model that detects its elements, reads it or picks its captions.

Functions on numpy arrays and texts, without a model, a server or a file: `detection` and `letterbox` for YOLOX page
elements, `markup` and `canvas` for ECLAIR, `captions` for the caption classifier, `pages` for images. A fault of an
input is INVALID_ARG. Pillow is used by `pages.open_page` alone.
"""
