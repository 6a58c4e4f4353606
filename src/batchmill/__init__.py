"""batchmill: a self-hosted mill for batches of files."""

__version__ = "0.1.0"
