"""Kept embeddings: a click on an image that was seen does not encode it again. In the process, and in Redis."""
