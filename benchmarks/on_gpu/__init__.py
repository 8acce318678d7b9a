"""Parts of benchmarks.gpu; they need no package but torch, torchvision and segment_anything, and theirs."""
