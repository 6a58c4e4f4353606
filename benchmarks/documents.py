"""What analysing documents costs, beside pdfplumber, pypdf, openpyxl and pandas in the same run.

    python benchmarks/documents.py [FOLDER] [--csv-rows N] [--xlsx-rows N] [--rounds N]

FOLDER holds PDF, sheet, CSV and text files of any kind (its subfolders too). Without it only
the generated sheets are measured. Every measurement is a process of its own, taken in turns;
CPU is user + system, of medians. Writes benchmarks/results/documents.md.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "documents.md"
Measured = dict[str, Any]
LIBRARIES = (
    *("pypdfium2", "python-calamine", "chardet", "py3langid"),
    *("pdfplumber", "pypdf", "openpyxl", "pandas"),
)
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


# ---------------------------------------------------------------- what is measured


def analyse(path: Path, **options: object) -> Measured:
    """Our own work, as a child does it."""
    from batchmill.model.limits import Limits
    from batchmill.operations import registry
    from batchmill.sandbox.messages import Job, JobStep
    from batchmill.sandbox.run_job import execute

    step = JobStep("analyze", registry.options("analyze", options).model_dump(mode="json"))
    with tempfile.TemporaryDirectory() as folder:
        limits = Limits(sheet_rows=5_000_000, pages=5_000)
        job = Job(str(path), folder, path.name, (step,), limits=limits)
        report = execute(job, lambda _: None)
    if report.error:
        return {"error": report.error.message}
    document = report.data["document"]
    tables = [*document["sheets"], *document["tables"]]
    return {
        "kind": document["kind"],
        "units": document["text"]["pages"] or sum(table["rows"] for table in tables),
        "tables": len(tables),
        "language": (document["language"] or {}).get("code"),
        "needs_ocr": document["needs_ocr"],
        "warnings": list(document["warnings"]),
    }


def ours(path: Path) -> Measured:
    return analyse(path)


def ours_without_outputs(path: Path) -> Measured:
    return analyse(path, text=False, rows="none", thumbnail="none")


def ours_text_only(path: Path) -> Measured:
    return analyse(path, rows="none", thumbnail="none", language=False, table_pages=0)


def pdfplumber_text_and_tables(path: Path) -> Measured:
    import pdfplumber

    with pdfplumber.open(path) as pdf:
        tables = 0
        for page in pdf.pages:
            page.extract_text()
            tables += len(page.extract_tables())
            page.close()
        return {"units": len(pdf.pages), "tables": tables}


def pdfplumber_text(path: Path) -> Measured:
    import pdfplumber

    with pdfplumber.open(path) as pdf:
        for page in pdf.pages:
            page.extract_text()
            page.close()
        return {"units": len(pdf.pages)}


def pypdf_text(path: Path) -> Measured:
    import pypdf

    pdf = pypdf.PdfReader(path)
    for page in pdf.pages:
        page.extract_text()
    return {"units": len(pdf.pages)}


def openpyxl_cells(path: Path) -> Measured:
    """Only reads the cells: no types, no counts."""
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    return {"units": sum(1 for sheet in book for _ in sheet.iter_rows(values_only=True)) - 1}


def pandas_xlsx(path: Path) -> Measured:
    import pandas as pd

    return _profiled(pd.read_excel(path, engine="openpyxl"))


def pandas_csv(path: Path) -> Measured:
    """Reads all into memory with the C reader; dates and money stay texts."""
    import pandas as pd

    return _profiled(pd.read_csv(path))


def pandas_csv_with_dates(path: Path) -> Measured:
    """Finds dates and money among the texts as well, as we do."""
    import pandas as pd

    frame = pd.read_csv(path)
    for name in frame.select_dtypes(include=["object", "string"]):
        texts = frame[name].astype("string")
        texts.str.fullmatch(r"[-+]?[€$£]? ?[\d.,' ]+ ?[€$£]?").mean()
        pd.to_datetime(texts, errors="coerce", format="mixed").notna().mean()
    return _profiled(frame)


def stdlib_csv(path: Path) -> Measured:
    """The floor for Python: rows read and thrown away."""
    with path.open(newline="") as file:
        return {"units": sum(1 for _ in csv.reader(file)) - 1}


def _profiled(frame: Any) -> Measured:  # noqa: ANN401 - a DataFrame
    for name in frame:
        column, present = frame[name], frame[name].dropna()
        column.isna().sum(), column.nunique(), present.min(), present.max()
        present.drop_duplicates().head(5).tolist()
    return {"units": len(frame)}


WAYS: dict[str, Callable[[Path], Measured]] = {
    each.__name__: each
    for each in (
        *(ours, ours_without_outputs, ours_text_only),
        *(pdfplumber_text_and_tables, pdfplumber_text, pypdf_text),
        *(openpyxl_cells, pandas_xlsx, pandas_csv, pandas_csv_with_dates, stdlib_csv),
    )
}


# ---------------------------------------------------------------- one process, one measurement


def measure(way: str, paths: list[Path]) -> list[Measured]:
    """Run `way` over the files in a fresh process; one result for each, and one for all."""
    done = subprocess.run(
        [sys.executable, __file__, "--way", way, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def run_way(way: str, paths: list[Path]) -> None:
    found: list[Measured] = []
    for path in paths:
        began = time.process_time()
        try:
            facts = WAYS[way](path)
        except Exception as error:
            facts = {"error": f"{type(error).__name__}: {error}"[:120]}
        found.append({"file": path.name, **facts, "cpu_s": time.process_time() - began})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([*found, {"peak_mib": peak}]))


def compare(ways: list[str], paths: list[Path], rounds: int) -> dict[str, list[list[Measured]]]:
    """Measure all ways in turns, so that a slow spell of the machine hits them alike."""
    results: dict[str, list[list[Measured]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            print(f"  {way} …", file=sys.stderr)
            results[way].append(measure(way, paths))
    return results


# ---------------------------------------------------------------- tables


def compared(title: str, unit: str, results: dict[str, list[list[Measured]]]) -> str:
    """Return a table of rates over the files that every way could read, ours first."""
    firsts = [runs[0][:-1] for runs in results.values()]
    readable = [
        number
        for number, files in enumerate(zip(*firsts, strict=True))
        if not any("error" in each for each in files)
    ]
    units = sum(firsts[0][number]["units"] for number in readable)
    cpu = {way: _median_cpu_s(runs, readable) for way, runs in results.items()}
    own_s = next(iter(cpu.values()))
    lines = [
        f"## {title}: {units:,} {unit} in {len(readable)} files",
        "",
        f"| way | CPU s | {unit} per CPU second | peak MiB | × our CPU |",
        "|---|---|---|---|---|",
    ]
    for way, runs in results.items():
        peak = statistics.median(run[-1]["peak_mib"] for run in runs)
        rate = f"{cpu[way]:.2f} | {units / cpu[way]:,.0f} | {peak:.0f} | {cpu[way] / own_s:.1f}"
        lines.append(f"| {way} | {rate} |")
    return "\n".join([*lines, ""])


def _median_cpu_s(runs: list[list[Measured]], readable: list[int]) -> float:
    return statistics.median(sum(run[number]["cpu_s"] for number in readable) for run in runs)


def listed(results: list[Measured]) -> str:
    lines = [
        "## Every file",
        "",
        "| file | kind | pages or rows | tables | language | CPU ms | warning or error |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in results[:-1]:
        notes = [*each.get("warnings", []), *(["needs OCR"] if each.get("needs_ocr") else [])]
        said = each.get("error") or "; ".join(notes)
        cells = [str(each.get(key) or "") for key in ("kind", "units", "tables", "language")]
        cells = [each["file"], *cells, f"{each['cpu_s'] * 1000:.0f}", said]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def machine() -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit or 'unknown'}, "
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {libraries}\n"
    )


# ---------------------------------------------------------------- generated sheets


def made_rows(count: int) -> Iterator[list[object]]:
    chance = random.Random(1)  # noqa: S311
    day = datetime.date(2015, 1, 1)
    names = ["bread", "milk", "tea", "coffee", "rice", "salt", "oil", "honey"]
    yield ["id", "name", "price", "quantity", "sold", "fresh", "unit", "note"]
    for number in range(count):
        yield [
            number,
            f"{chance.choice(names)} {chance.randrange(10**6)}",
            round(chance.uniform(0, 500), 2),
            chance.randrange(1000),
            (day + datetime.timedelta(chance.randrange(3650))).isoformat(),
            chance.choice(["true", "false"]),
            chance.choice(["kg", "g", "l"]),
            "" if chance.random() < 0.7 else 'said "good", twice',
        ]


def make_csv(path: Path, count: int) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(made_rows(count))


def make_xlsx(path: Path, count: int) -> None:
    relations = f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" Type='
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override '
        'PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.'
        'spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        "</Types>",
        "_rels/.rels": f'{relations}"{OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
        "</Relationships>",
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{OFFICE}"><sheets><sheet name="Sales" '
        'sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'{relations}"{OFFICE}/worksheet" '
        'Target="worksheets/sheet1.xml"/></Relationships>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in parts.items():
            archive.writestr(name, body)
        with archive.open("xl/worksheets/sheet1.xml", "w") as file:
            file.write(f"<worksheet {MAIN}><sheetData>".encode())
            for number, row in enumerate(made_rows(count), start=1):
                cells = "".join(_cell(f"{chr(65 + c)}{number}", v) for c, v in enumerate(row))
                file.write(f'<row r="{number}">{cells}</row>'.encode())
            file.write(b"</sheetData></worksheet>")


def _cell(place: str, value: object) -> str:
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    text = str(value).replace("&", "&amp;").replace('"', "&quot;")
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


# ---------------------------------------------------------------- main


def documents(folder: Path, rounds: int) -> list[str]:
    files = sorted(path for path in folder.rglob("*.*") if path.is_file())
    pdfs = [path for path in files if path.suffix == ".pdf"]
    whole = compare(["ours", "pdfplumber_text_and_tables"], pdfs, rounds)
    text = compare(["ours_text_only", "pypdf_text", "pdfplumber_text"], pdfs, rounds)
    return [
        compared("PDF with text, tables, language, thumbnail", "pages", whole),
        compared("PDF, text only", "pages", text),
        listed(measure("ours", files)),
    ]


def sheets(xlsx_rows: int, csv_rows: int, rounds: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        book, table, small = (Path(folder) / name for name in ("a.xlsx", "a.csv", "b.csv"))
        make_xlsx(book, xlsx_rows)
        make_csv(table, csv_rows)
        make_csv(small, csv_rows // 20)
        size_mb = table.stat().st_size / 1e6
        ways = ["ours_without_outputs", "ours", "openpyxl_cells", "pandas_xlsx"]
        books = compare(ways, [book], rounds)
        ways = ["ours", "pandas_csv", "pandas_csv_with_dates", "stdlib_csv"]
        tables = compare(ways, [table], rounds)
        memory = measure("ours", [small])[-1]["peak_mib"]
    return [
        compared("XLSX of 8 columns", "rows", books),
        compared(f"CSV of 8 columns, {size_mb:.0f} MB", "rows", tables),
        f"A CSV of a twentieth of these rows peaks at {memory:.0f} MiB.\n",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the analysis of documents.")
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--csv-rows", type=int, default=2_000_000)
    parser.add_argument("--xlsx-rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=sorted(WAYS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.way:
        run_way(chosen.way, chosen.paths)
        return
    if chosen.paths and not (len(chosen.paths) == 1 and chosen.paths[0].is_dir()):
        parser.error("name one folder of documents")
    parts = documents(chosen.paths[0], chosen.rounds) if chosen.paths else []
    if chosen.csv_rows:
        parts += sheets(chosen.xlsx_rows, chosen.csv_rows, chosen.rounds)
    text = "\n".join(["# Analysing documents", "", machine(), *parts])
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
