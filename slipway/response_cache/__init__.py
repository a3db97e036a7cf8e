"""Responses of models that are kept and given again to equal requests: in memory, or in a Redis server."""
