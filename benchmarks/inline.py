"""The command line whose workers do nothing to a file, in their own process: delivery alone.

python benchmarks/inline.py serve …
python benchmarks/inline.py worker …
"""

from inline_worker import nothing

from batchmill import bootstrap
from batchmill.cli.main import main
from batchmill.service.execution.process_item import Attempt


def _attempts(*_given: object, **_more: object) -> Attempt:
    return nothing


if __name__ == "__main__":
    vars(bootstrap)["attempts_in"] = _attempts
    main()
