"""Images over 1024 px: cut into tiles that overlap, and put together again.

`grainserve.large_images` submits the tiles as jobs.

| module | does |
|---|---|
| `layout` | where tiles lie, and which of them owns a place |
| `source` | a large image → pixels to cut |
| `merge` | what several tiles saw → each grain once |
| `result` | the tiles' results → one result that follows the schema |
"""
