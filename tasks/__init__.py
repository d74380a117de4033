"""One folder per stage; stages meet in a flow, through tables in the store."""
