"""JSON shapes of /v1, shared by the API and the client."""
