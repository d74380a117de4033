"""Prefect's server and worker, for one command or for `wca ui`."""
