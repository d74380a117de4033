"""What the flows share: the stages, how tasks are run, what is recorded and shown."""
