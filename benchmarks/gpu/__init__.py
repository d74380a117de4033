"""Every figure that needs a GPU."""
