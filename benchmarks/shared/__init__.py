"""What several benchmarks share: inputs, synthetic embeddings, the way to compare with, memory."""
