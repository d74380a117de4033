"""How costs grow: of stages with the size of a data set, of a run with the runs of a store."""
