"""What a result holds: data, masks, the frame, overlays and the size figure."""
