"""Parts of benchmarks.gpu; they need only torch, torchvision and segment_anything, with their dependencies."""
