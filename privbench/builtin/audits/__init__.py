"""Audits: measurements of a population other than attacks, one file each."""
