"""Publish, start, query, verify and prune against the number of recorded runs.

Runs are as small as those of the demo: the results of a few methods, and a large table in shards.

    python benchmarks/growth_runs.py FOLDER --counts 1,50,200,600,5000
"""
