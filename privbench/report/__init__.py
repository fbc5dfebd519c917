"""Reports: results on a terminal, in a paper, on a page."""
