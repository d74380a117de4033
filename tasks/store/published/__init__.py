"""What is published of the runs: parts, the DuckDB file over them, and files to give away."""
