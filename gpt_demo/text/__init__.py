"""Text to tokens: tokenizers, uploads, windows and batches."""
