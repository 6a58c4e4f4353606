"""What of its sandbox a child has been able to put in force, as its parent hears it."""

from dataclasses import dataclass

ON = "on"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What is in force: each field is `on`, or why it is not."""

    privileges: str
    network: str
    files: str
    processes: str

    @property
    def complete(self) -> bool:
        """True when every part is in force."""
        return self.missing() == {}

    def missing(self) -> dict[str, str]:
        """Return the parts that are not in force, with the reason."""
        parts = {name: getattr(self, name) for name in self.__slots__}
        return {name: reason for name, reason in parts.items() if reason != ON}
