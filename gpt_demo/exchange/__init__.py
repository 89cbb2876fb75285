"""Other people's models in and out: OpenAI's release, the Hugging Face layout, files of tensors."""
