"""Images that arrive in a folder: which are new, and what became of them."""
