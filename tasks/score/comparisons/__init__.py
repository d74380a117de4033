"""How methods compare image by image: runs in which each is right, tests, and steps of a gain."""
