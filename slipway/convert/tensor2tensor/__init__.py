"""Converts models of tensor2tensor: verified against a second, plain implementation, and measured."""
