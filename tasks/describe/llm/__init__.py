"""The client of language models: prompts, calls, replies, prices, cleaned answers."""
