"""Graphs of real collections, and what an order of their tasks costs in memory."""
