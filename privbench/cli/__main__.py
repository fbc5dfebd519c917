"""Entry point of `python -m privbench.cli`, the same as `privbench`."""

from privbench.cli import main

if __name__ == "__main__":  # worker processes import this module again
    main()
