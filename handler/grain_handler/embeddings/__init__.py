"""Kept embeddings, in the process and in Redis: a click on an image that was seen does not encode it again."""
