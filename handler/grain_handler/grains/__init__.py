"""Masks to grains: the label map, measurements, classes."""
