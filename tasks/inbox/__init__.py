"""Images that arrive in a folder: which are new, and how they were classified."""
