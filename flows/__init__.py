"""What runs: each flow is a short table of contents over the stages in `tasks/`."""
