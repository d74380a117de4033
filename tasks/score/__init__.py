"""Weights, methods and scores in torch; accuracy and everything joined in DuckDB SQL."""
