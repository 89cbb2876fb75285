"""The model: every layer in one file, its fused loss, and its weights in fewer bits."""
