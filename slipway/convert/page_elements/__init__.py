"""The wing of page-element detectors: YOLOX networks at 1024 x 1024, and the models from a page to rows per label."""
