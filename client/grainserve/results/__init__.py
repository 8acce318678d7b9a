"""A result: its data, masks, frame, overlay and size figure."""
