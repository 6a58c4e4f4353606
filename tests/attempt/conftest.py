from support.server_context import with_mill

__all__ = ["with_mill"]
