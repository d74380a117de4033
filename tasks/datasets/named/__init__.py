"""Data sets by name: their cards, and what reads the files of each."""
