"""Bridges between the engine and other libraries."""
