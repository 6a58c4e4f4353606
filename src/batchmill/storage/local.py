"""A storage in a folder: whole files or none, durable on return."""
