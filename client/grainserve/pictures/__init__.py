"""Pictures of images for viewers: a preview, and the tiles of a deep zoom.

| module | does |
|---|---|
| `pyramid` | an image file → its pixels at full size, half, a quarter, … |
| `cache` | keeps what was made, within a number of bytes |
| `album` | an image's preview and tiles as files, each made once |
"""
