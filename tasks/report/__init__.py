"""What people read of a run: pages, pictures, tables of text."""
