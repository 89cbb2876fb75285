"""Scenes for a class, and their recordings."""
