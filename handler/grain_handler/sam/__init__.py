"""Segment Anything: models, automatic masks, seeds, precision."""
