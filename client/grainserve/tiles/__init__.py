"""Images over 1024 px: cut into tiles that overlap, measured as jobs, and put together again.

| module | does |
|---|---|
| `layout` | where tiles lie, and which of them has the say over a place |
| `source` | a large image → pixels to cut |
| `jobs` | tiles → jobs, one version for all of them, taken up again after a crash |
| `merge` | what several tiles saw → each grain once |
| `result` | the tiles' results → one result that follows the schema |
"""
