"""The contract checks behind `privbench.testing`, one file per kind of component."""
