"""The `wca` command: one file per subject parses, calls a flow and prints."""
