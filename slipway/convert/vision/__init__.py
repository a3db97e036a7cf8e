"""The wing for networks that see images: labels, objects with their boxes, and vectors come out."""
