"""What is said about each class: prompts, descriptions, descriptors."""
