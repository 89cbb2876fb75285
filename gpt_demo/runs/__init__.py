"""Runs on disk and in threads, and the recipes they are made by."""
