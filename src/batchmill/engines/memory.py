"""An engine in the memory of one process: nothing to install."""
