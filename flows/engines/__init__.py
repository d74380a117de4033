"""Where shards are worked on: in this process, in processes of Dask or of Ray."""
