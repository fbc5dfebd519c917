"""Generative networks that defenses train on their own half of the pool: one file per method."""
