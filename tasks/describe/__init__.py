"""The texts of each class: prompts, descriptions, descriptors. `llm` has a language model write."""
