"""What people look at: the printed table, the artifacts in the Prefect UI."""
