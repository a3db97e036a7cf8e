"""The old place of `check_config`, for importers that have not moved to slipway.backends.graph_check."""

from slipway.backends.graph_check import check_config

__all__ = ["check_config"]
