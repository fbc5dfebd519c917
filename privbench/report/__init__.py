"""Reports: what the numbers look like on a terminal, in a paper, on a page."""
