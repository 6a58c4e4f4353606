from support.mill import with_mill

__all__ = ["with_mill"]
