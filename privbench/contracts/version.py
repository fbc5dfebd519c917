"""Version of the contracts: increased when plugins must be changed to work with them."""

VERSION = 1
DECLARED = "PRIVBENCH_API"
"""Name in a plugin's module for the version that it is written for."""
