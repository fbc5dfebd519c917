"""Version of the contracts: increased when plugins must be changed to work with them."""

VERSION = 1
DECLARED = "API_VERSION"
"""Name by which the module of a plugin says which version it is written for."""
