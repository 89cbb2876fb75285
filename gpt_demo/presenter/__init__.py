"""Scenes for a class, and what they show recorded."""
