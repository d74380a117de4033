"""The formats of own data: a folder, a table, Parquet, WebDataset and Hugging Face data."""
