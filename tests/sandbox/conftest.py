from support.pool_session import in_shared_server_context, with_server_context

__all__ = ["in_shared_server_context", "with_server_context"]
