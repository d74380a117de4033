"""Crops, resampling and encoders: from images and texts to embeddings."""
