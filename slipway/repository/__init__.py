"""Directories of models: layout, versions, differences between two scans."""
