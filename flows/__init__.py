"""What runs: each flow is a short table of contents over the stages in `tasks/`."""

import os

# Read when Prefect and the hub's client are imported, so set before, unless a person has set them.
for _name, _value in (
    ("DO_NOT_TRACK", "1"),
    ("PREFECT_SERVER_ANALYTICS_ENABLED", "false"),
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
    # of a flow that is called from Python: Prefect's 20 s are too few to make a database
    ("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180"),
):
    os.environ.setdefault(_name, _value)
