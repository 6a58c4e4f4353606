from support.pool_session import with_server_context

__all__ = ["with_server_context"]
