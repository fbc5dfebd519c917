"""Attacks: one file per method, named after it."""
