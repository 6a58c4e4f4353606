"""One shape for every kind; types by content; one clear error each."""

import asyncio
import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from batchmill.operations import presets, registry
from batchmill.sandbox.messages import Job, JobStep, Report
from batchmill.sandbox.pool import Pool
from support.documents import (
    analysed,
    encrypted_pdf,
    line_of_text,
    ods,
    ole2,
    pdf,
    sheet_data,
    xls,
    xlsx,
    zipped,
)

SHEET = sheet_data([["name", "price"], ["bread", 1.5], ["milk", 2]])


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()


KINDS = {
    "a.pdf": pdf(line_of_text("words")),
    "a.xlsx": xlsx(SHEET),
    "a.xls": xls([["name", "price"], ["bread", 1.5]]),
    "a.csv": b"a,b\n1,2\n3,4\n",
    "a.tsv": b"a\tb\n1\t2\n3\t4\n",
    "a.txt": b"some words of English to read: the quick brown fox jumps over the lazy dog",
}


def test_every_kind_answers_in_the_same_shape(tmp_path: Path) -> None:
    documents = [analysed(tmp_path, body, name=name).document for name, body in KINDS.items()]
    assert len({tuple(document) for document in documents}) == 1
    assert all(len(document["sha256"]) == 64 for document in documents)
    assert all("total" in document["timings_ms"] for document in documents)
    kinds = [document["kind"] for document in documents]
    assert kinds == ["pdf", "workbook", "workbook", "table", "table", "text"]


@pytest.mark.parametrize("name", KINDS)
def test_the_same_file_gives_the_same_facts_and_bytes(tmp_path: Path, name: str) -> None:
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
    one, two = (analysed(tmp_path / folder, KINDS[name], name=name) for folder in ("1", "2"))
    facts = [{**each.document, "timings_ms": None} for each in (one, two)]
    assert facts[0] == facts[1]
    assert one.report.outputs == two.report.outputs


@pytest.mark.parametrize(
    ("file", "error", "said"),
    [
        (("menu.pdf", b""), "empty_file", "menu.pdf is empty (0 bytes)"),
        (("menu.pdf", encrypted_pdf()), "encrypted_file", "remove the password"),
        (("menu.xlsx", ole2("EncryptedPackage")), "encrypted_file", "remove the password"),
        (("menu.xls", xls([["a"]], password=True)), "encrypted_file", "remove the password"),
        (("menu.pdf", b"%PDF-1.4 gone"), "unreadable_file", "damaged or no PDF"),
        (("menu.xlsx", xlsx(SHEET)[:-300]), "unsupported_type", "menu.xlsx"),
        (("menu.xls", xls([["a"]])[:1500]), "unreadable_file", "menu.xls cannot be read"),
        (("menu.pdf", b"<html>404</html>"), "misnamed_file", "it holds plain text"),
        (("menu.xlsx", b"Service unavailable"), "misnamed_file", "it holds plain text"),
        (("menu.pdf", picture()), "unsupported_type", "image/jpeg"),
        (("menu.doc", ole2("WordDocument")), "unsupported_type", "menu.doc"),
        (("menu.zip", zipped({"a.txt": "x"})), "unsupported_type", "application/zip"),
    ],
)
def test_each_broken_file_has_one_clear_error(
    tmp_path: Path, file: tuple[str, bytes], error: str, said: str
) -> None:
    name, body = file
    code, message = analysed(tmp_path, body, name=name).error
    assert code == error
    assert said in message
    assert name in message


@pytest.mark.parametrize(
    ("name", "body", "kind"),
    [
        ("menu.xls", KINDS["a.csv"], "table"),
        ("menu.xlsx", KINDS["a.pdf"], "pdf"),
        ("menu.csv", KINDS["a.xlsx"], "workbook"),
        ("menu.XLSX", KINDS["a.xls"], "workbook"),
    ],
)
def test_a_document_under_another_name_is_read_by_its_content_and_said(
    tmp_path: Path, name: str, body: bytes, kind: str
) -> None:
    made = analysed(tmp_path, body, name=name)
    assert made.document["kind"] == kind
    assert made.report.warnings[0].startswith(f"the file is called .{name[5:].lower()} but holds")


@pytest.mark.parametrize("name", ["menu.txt", "menu", "menu.dat", "menu.csv"])
def test_names_that_promise_nothing_are_fine(tmp_path: Path, name: str) -> None:
    assert analysed(tmp_path, KINDS["a.csv"], name=name).report.warnings == ()


@pytest.mark.parametrize("name", ["../../prices.xlsx", "..\\..\\prices.xlsx", "/etc/prices.xlsx"])
def test_outputs_are_called_like_the_source_without_its_folders(tmp_path: Path, name: str) -> None:
    assert analysed(tmp_path, xlsx(SHEET), name=name).names == ["prices.sheet1.csv"]


def test_every_kind_is_read_inside_the_sandbox(tmp_path: Path) -> None:
    async def story() -> list[Report]:
        pool = Pool(1, tmp_path / "scratch")
        try:
            return [await pool.run(_job(pool, name), owner="ann", wall_s=60) for name in KINDS]
        finally:
            await pool.aclose()

    reports = asyncio.run(story())
    assert [report.error for report in reports] == [None] * len(KINDS)
    kinds = [report.data["document"]["kind"] for report in reports]
    assert kinds == ["pdf", "workbook", "workbook", "table", "table", "text"]
    assert [output.name for output in reports[1].outputs] == ["a.sheet1.csv"]


def _job(pool: Pool, name: str) -> Job:
    folder = pool.scratch.new("attempt")
    (folder / "work").mkdir(parents=True)
    (folder / "source").write_bytes(KINDS[name])
    step = JobStep("analyze", registry.options("analyze", {}).model_dump(mode="json"))
    return Job(str(folder / "source"), str(folder / "work"), name, (step,))


def test_the_operation_is_cheap_to_import_and_to_describe() -> None:
    program = (
        "import sys; from batchmill.operations import registry; registry.schema('analyze');"
        "print([name for name in ('pypdfium2', 'pdfplumber', 'python_calamine', 'chardet', 'numpy',"
        "'py3langid', 'PIL', 'pyvips', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


def test_every_option_is_described() -> None:
    fields = registry.schema("analyze")["properties"]
    assert all(field["description"] and "default" in field for field in fields.values())


def test_the_preset_retries_and_gives_half_an_hour() -> None:
    pipeline = presets.get("analyze")
    assert (pipeline.retries, pipeline.timeout_s, pipeline.family) == (3, 1800, "documents")
    assert [step.use for step in pipeline.steps] == ["analyze"]


def test_ods_tables_are_sheets(tmp_path: Path) -> None:
    cell = '<table:table-cell office:value-type="{}"{}><text:p>{}</text:p></table:table-cell>'
    rows = "".join(
        f"<table:table-row>{a}{b}</table:table-row>"
        for a, b in (
            (cell.format("string", "", "name"), cell.format("string", "", "price")),
            (
                cell.format("string", "", "bread"),
                cell.format("float", ' office:value="1.5"', "1.5"),
            ),
        )
    )
    document = analysed(tmp_path, ods(rows), name="a.ods").document
    (sheet,) = document["sheets"]
    assert (sheet["name"], sheet["rows"]) == ("Prices", 1)
    assert [column["type"] for column in sheet["columns"]] == ["text", "decimal"]
