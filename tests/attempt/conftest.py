from support.server_context import with_server_context

__all__ = ["with_server_context"]
