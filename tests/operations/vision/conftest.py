from support.vision_server import vision

__all__ = ["vision"]
