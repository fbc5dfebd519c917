"""Audits: measurements of a population that are no attack, one file each."""
