"""`batchmill doctor`: tries everything that work needs, and says what to do about what is wrong."""

from dataclasses import dataclass
from typing import Annotated

import typer

from batchmill.cli.command import ALL_FINE, SOME_FAILED
from batchmill.cli.finding import Finding, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """How to answer."""

    json: Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")] = False


def doctor(options: DoctorOptions) -> int:
    """Check this machine: Python, image library, sandbox, disk, database, storage, server.

    Nothing is changed. Each line is ok, warn or fail; below what is not ok stands what to do.

    [bold]Exit status[/bold]

    0 nothing failed (there may be warnings), 1 something failed.
    """
    import os

    from batchmill.cli import doctor_checks
    from batchmill.settings import loading

    settings = loading.load(os.environ, loading.read_file(os.environ))
    findings = []
    for check in doctor_checks.ALL:
        for finding in check(settings):
            findings.append(finding)
            _show(finding, as_json=options.json)
    failed = any(finding.verdict is Verdict.FAIL for finding in findings)
    return SOME_FAILED if failed else ALL_FINE


def _show(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps(asdict(finding)), flush=True)
        return
    print(f"{finding.verdict:<4}  {finding.name}: {finding.found}", flush=True)
    if finding.remedy:
        print(f"      → {finding.remedy}")
