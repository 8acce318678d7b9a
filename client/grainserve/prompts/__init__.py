"""Prompts: points, boxes and masks that ask for single objects of an image."""
