"""The page `/playground`: one file of routes, and beside it the page itself, plain HTML, CSS and ES modules."""
