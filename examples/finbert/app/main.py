"""The proxy of the FinBERT example, for `uvicorn main:app`; start.sh sets its options."""

from slipway.proxy.main import app

__all__ = ["app"]
