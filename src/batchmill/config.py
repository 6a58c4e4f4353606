"""Every setting: prefixed name, aliases, type, unit and default."""
