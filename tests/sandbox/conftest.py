from support.server_context import in_shared_mill, with_mill

__all__ = ["in_shared_mill", "with_mill"]
