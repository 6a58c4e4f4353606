"""Document 004, row by row: logs, security, clients that fall back, and scaling."""

import base64
import json
import re
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

import databases
from batchmill import Client
from reference.images import MANY, PNG, SINGLE, done, ended, phone_photo, server, single, started
from support import redis_server
from support.browser import OpenPage, browser, chromium, open_page
from support.processes import Process, serving
from support.reference_rows import PARTLY, UNTRIED, Row

__all__ = ["browser", "chromium", "done", "open_page", "server"]

pytestmark = [pytest.mark.long]
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "content-security-policy": "default-src",
}
FALLBACK = """async ([server, text]) => {
  const { Batchmill } = await import('/batchmill.js')
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0))
  const told = []
  const order = { pipeline: 'web', onProgress: (each) => told.push(each.percent) }
  const files = [new File([bytes], 'small.png', { type: 'image/png' })]
  const done = await new Batchmill({ server }).process(files, order)
  return { via: done.via, reason: done.reason, status: done.items[0].status, told }
}"""


# ---------------------------------------------------------------- optimizations


@pytest.mark.row("Optimizations: progressive JPEG", "a JPEG that is made is progressive")
def test_a_jpeg_is_progressive(row: Row, server: Process) -> None:
    pipeline = {"steps": [{"use": "convert", "with": {"format": "jpeg"}}]}
    files = [("files", PNG)]
    sent = server.client.post("/v1/batches", files=files, data={"pipeline": json.dumps(pipeline)})
    batch_id = sent.json()["id"]
    server.until(f"/v1/batches/{batch_id}", lambda batch: batch["ended_at"])
    (item,) = server.client.get(f"/v1/batches/{batch_id}/items").json()["data"]
    body = server.client.get(item["outputs"][0]["url"]).content

    assert b"\xff\xc2" in body
    row('POST /v1/batches with convert to "jpeg"', "SOF2: progressive")


@pytest.mark.row("User experience", "real-time progress: events while files are at work")
def test_progress_is_told_as_it_happens(row: Row, server: Process) -> None:
    files = [("files", (f"{n}.png", PNG[1])) for n in range(4)]
    sent = server.client.post("/v1/batches", files=files, data={"pipeline": "web"}).json()
    events = []
    with server.client.stream("GET", f"/v1/batches/{sent['id']}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("event:"):
                events.append(line.removeprefix("event:").strip())

    assert events
    row("GET /v1/batches/:id/events", list(dict.fromkeys(events)))


# ---------------------------------------------------------------- logs


@pytest.mark.row("Server logs", "running on port 3001; max concurrent jobs; job timeout")
def test_the_log_says_the_limits_at_the_start(row: Row, server: Process) -> None:
    limits = {each["of"]: each for each in server.log() if each["event"] == "limits"}

    assert limits["images"]["concurrency"] == 3
    assert limits["images"]["timeout_ms"] == 30_000
    row("the server's log", limits["images"])


@pytest.mark.row("Server logs", "job … completed in 1250ms; job … failed: …")
def test_the_log_says_what_became_of_jobs(row: Row, server: Process) -> None:
    good, bad = started(server), started(server, ("cut.jpg", phone_photo()[1][:5_000]))
    for job_id in (good, bad):
        ended(server, job_id)
    lines = {
        each["item"]: each
        for each in server.log()
        if each["event"] == "item.finished" and each["item"] in {good, bad}
    }

    assert (lines[good]["status"], lines[bad]["status"]) == ("completed", "failed")
    assert any(name.startswith("run_") for name in lines[good])
    row("the server's log", [lines[good], lines[bad]])


@pytest.mark.row("Server logs", "job … started processing")
def test_the_log_says_that_a_job_starts(row: Row, server: Process, done: Any) -> None:
    own = [each["event"] for each in server.log() if each.get("item") == done["jobId"]]

    assert "item.finished" in own
    if {"item.started", "item.begun"} & set(own):
        row("the server's log", own)
    else:
        row("the server's log", own, PARTLY, why="a job has a line at its end alone")


# ---------------------------------------------------------------- security


@pytest.mark.row("Security: file types", "only approved formats, by content")
def test_what_is_no_image_is_refused(row: Row, server: Process) -> None:
    sent = single(server, ("fake.jpg", b"%PDF-1.7 not a picture"))

    assert sent.status_code == 415
    row(f"{SINGLE} of a PDF called fake.jpg", f"415 {sent.text}")


@pytest.mark.row("Security: rate limit", "100 submissions per window and address; reading is free")
def test_submissions_are_limited(row: Row, tmp_path: Path) -> None:
    env = {"RATE_LIMIT_MAX_REQUESTS": "2", "RATE_LIMIT_WINDOW_MS": "60000"}
    with serving(tmp_path / "data", **env) as server:
        codes = [single(server).status_code for _ in range(3)]
        refused = single(server)
        reads = {server.client.get("/api/stats").status_code for _ in range(20)}

    assert (codes, reads) == ([200, 200, 429], {200})
    row(
        f"RATE_LIMIT_MAX_REQUESTS=2; 3 × {SINGLE}, 20 × GET /api/stats",
        f"200, 200, 429 Retry-After: {refused.headers['retry-after']}; reads 200",
    )


@pytest.mark.row("Security: CORS", "CORS_ORIGINS: listed origins alone")
def test_listed_origins_are_let_in(row: Row, tmp_path: Path) -> None:
    origins = "https://yourdomain.com,https://www.yourdomain.com"
    with serving(tmp_path / "data", CORS_ORIGINS=origins, **MANY) as server:
        found = {
            origin: server.client.get("/api/health", headers={"Origin": origin}).headers.get(
                "access-control-allow-origin"
            )
            for origin in ("https://www.yourdomain.com", "https://elsewhere.example")
        }

    assert list(found.values()) == ["https://www.yourdomain.com", None]
    row(f"CORS_ORIGINS={origins}", found)


@pytest.mark.row("Security: headers", "as Helmet sets them")
def test_answers_have_security_headers(row: Row, server: Process) -> None:
    headers = server.client.get("/api/stats").headers

    assert all(value in headers[name] for name, value in SECURITY.items())
    row("GET /api/stats", {name: headers[name] for name in SECURITY})


@pytest.mark.row("Security: path traversal", "no other file is opened: {name}")
@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "%2e%2e", "processed_x.webp"])
def test_no_other_file_is_opened(row: Row, server: Process, name: str) -> None:
    answer = server.client.get(f"/api/images/{name}")

    assert answer.status_code == 404
    row(f"GET /api/images/{name}", f"404 {answer.text}")


# ---------------------------------------------------------------- clients


@pytest.mark.row("Client: Python", "the server is used when it answers")
def test_the_client_uses_the_server(row: Row, server: Process, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG[1])
    with Client(str(server.client.base_url), fallback="local") as client:
        done = client.process([path], "web", output_dir=tmp_path / "out")

    assert done.via == "server"
    row('Client(url, fallback="local").process(…)', {"via": done.via, "batch": done.batch_id})


@pytest.mark.row("Client: Python", "without a server the same work is done here, and it is said")
def test_the_client_falls_back(row: Row, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG[1])
    with Client("http://127.0.0.1:9", fallback="local") as client:
        done = client.process([path], "web", output_dir=tmp_path / "out")

    assert done.via == "local"
    assert (tmp_path / "out" / "a.webp").exists()
    row('Client("http://127.0.0.1:9", fallback="local").process(…)', done.reason)


@pytest.mark.row("Client: browser", "the server is used when it answers")
def test_the_browser_uses_the_server(row: Row, server: Process, open_page: OpenPage) -> None:
    page = open_page("/")
    body = base64.b64encode(PNG[1]).decode()
    done = page.evaluate(FALLBACK, [str(server.client.base_url), body])

    assert (done["via"], done["status"], done["told"][-1]) == ("server", "completed", 100)
    row("new Batchmill({server}).process(files) in Chromium", done)


@pytest.mark.row("Client: browser", "without a server the canvas does it, and it is said")
def test_the_browser_falls_back(row: Row, tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page("/")
    page.route("**/v1/**", lambda route: route.abort())
    done = page.evaluate(FALLBACK, [page.url, base64.b64encode(PNG[1]).decode()])

    assert (done["via"], done["status"]) == ("browser", "completed")
    row("the same while nothing answers", done)


@pytest.mark.row("Client: browser", "pollInterval 500, maxPollTime 180000")
def test_the_browser_polls_as_in_the_document(row: Row, server: Process) -> None:
    types = server.client.get("/batchmill.d.ts").text
    code = server.client.get("/batchmill.js").text

    assert "pollMs" in types
    found = sorted(set(re.findall(r"\bpollMs\b|180_?000|18e4|\b500\b", code)))
    call = "GET /batchmill.js and /batchmill.d.ts"
    if re.search(r"180_?000|18e4", code):
        row(call, found)
    else:
        row(call, found, PARTLY, why="pollMs is an option; the limit of 3 minutes was not found")


@pytest.mark.row("Client: checkServerHealth", "a client asks whether the server is there")
def test_a_client_asks_for_health(row: Row, server: Process) -> None:
    alive = httpx.get(f"{server.client.base_url}/api/health", timeout=60).json()["status"]

    assert alive == "healthy"
    row("GET /api/health", alive)


# ---------------------------------------------------------------- scaling


@pytest.mark.row("Scaling: Redis", "the queue over Redis instead of memory")
def test_jobs_are_told_through_redis(row: Row, tmp_path: Path) -> None:
    with ExitStack() as stack:
        url, queue = stack.enter_context(redis_server.own_queue())
        env = {"REDIS_URL": url, "BATCHMILL_REDIS_QUEUE": queue, **MANY}
        env["BATCHMILL_DATABASE_URL"] = stack.enter_context(
            databases.new_url("postgresql", tmp_path)
        )
        server = stack.enter_context(serving(tmp_path / "data", **env))
        job = ended(server, started(server))
        checks = server.client.get("/readyz").json()["checks"]

    (told,) = [each for each in checks if each["name"] == "queue"]
    assert job["status"] == "completed"
    row(f"REDIS_URL=… BATCHMILL_DATABASE_URL=postgresql://…; {SINGLE}", told)


@pytest.mark.row("Scaling: queue", "jobs outlive a restart: they are in no memory")
def test_jobs_outlive_a_restart(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", **MANY) as server:
        server.client.post("/v1/queue/pause", json={"reason": "a test"})
        job_id = started(server)
        server.kill()
    with serving(tmp_path / "data", **MANY) as server:
        server.client.post("/v1/queue/resume")
        job = ended(server, job_id)

    assert job["status"] == "completed"
    row("kill -9 while a job waits; start again", job["status"])


@pytest.mark.row("Scaling: load balancer", "several servers: a job is asked for at any of them")
def test_a_job_is_asked_for_at_any_server(row: Row, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with databases.new_url("postgresql", tmp_path) as url:
        env = {"BATCHMILL_DATABASE_URL": url, **MANY}
        with serving(data, **env) as one, serving(data, **env) as other:
            job = ended(other, started(one))
            image = other.client.get(job["result"]["processedFile"]["url"]).status_code

    assert image == 200
    row(
        "BATCHMILL_DATABASE_URL=postgresql://…; sent to one, asked at the other",
        f"completed; image {image}",
    )


@pytest.mark.row("CDN", "processed images through a CDN: their address may be kept")
def test_an_image_may_be_kept_by_a_cdn(row: Row, server: Process, done: Any) -> None:
    url = done["result"]["processedFile"]["url"]
    got = httpx.get(f"{server.client.base_url}{url}", timeout=60)
    kept = {name: got.headers[name] for name in ("cache-control", "cross-origin-resource-policy")}

    assert "public" in kept["cache-control"]
    row("GET /api/images/:filename without a key", kept)


@pytest.mark.row("CDN", "pre-signed URLs for direct uploads to the bucket")
def test_uploads_to_the_bucket(row: Row, tmp_path: Path, own_bucket: Any) -> None:
    env = {
        "BATCHMILL_STORAGE_URL": own_bucket.url,
        "BATCHMILL_S3_ENDPOINT": own_bucket.endpoint,
        "BATCHMILL_S3_REGION": own_bucket.region,
        "BATCHMILL_S3_ACCESS_KEY_ID": own_bucket.access_key_id,
        "BATCHMILL_S3_SECRET_ACCESS_KEY": own_bucket.secret_access_key,
    }
    name, body = phone_photo()
    wanted = {"direct": True, "name": name}
    with serving(tmp_path / "data", **env) as server:
        told = server.client.post("/v1/uploads", json={**wanted, "bytes": len(body)}).json()
        put = httpx.put(told["url"], content=body, headers=told["headers"], timeout=60)
        order = {"pipeline": "web", "inputs": [{"upload_id": told["id"]}]}
        batch = server.client.post("/v1/batches", json=order).json()
        (item,) = server.client.get(f"/v1/batches/{batch['id']}/items").json()["data"]

    assert told["url"].startswith(str(own_bucket.endpoint))
    assert put.status_code == 200
    assert item["input"]["bytes"] == len(body)
    row(
        'POST /v1/uploads {"direct": true, …}, PUT to `url`, POST /v1/batches {"upload_id": …}',
        {"method": told["method"], "PUT": put.status_code, "item": item["input"]["path"]},
    )


# ---------------------------------------------------------------- deployment


@pytest.mark.row("Quick start", "npm start: client and server by one command")
def test_one_command_serves_page_and_api(row: Row, server: Process) -> None:
    page = server.client.get("/", headers={"Accept": "text/html"})
    api = server.client.get("/api/health")

    assert (page.status_code, api.status_code) == (200, 200)
    assert "text/html" in page.headers["content-type"]
    row("batchmill serve; GET / and /api/health", f"{page.headers['content-type']}; 200")


@pytest.mark.row("Docker", "the Dockerfile: EXPOSE 3001, one command")
def test_the_image_exposes_the_documents_port(row: Row) -> None:
    text = (Path(__file__).parents[2] / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match("EXPOSE|ENTRYPOINT|CMD", line)]

    assert lines == ["EXPOSE 3001", 'ENTRYPOINT ["batchmill"]', 'CMD ["serve"]']
    row(
        "deploy/Dockerfile, read",
        lines,
        UNTRIED,
        why="no Docker daemon here",
    )


@pytest.mark.row("Process management", "PM2: started again after a crash and at boot")
def test_a_unit_starts_it_again(row: Row) -> None:
    folder = Path(__file__).parents[2] / "deploy" / "systemd"
    units = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}

    assert all("Restart=always" in text for text in units.values())
    assert all("WantedBy=multi-user.target" in text for text in units.values())
    row(
        "deploy/systemd, read",
        sorted(units),
        UNTRIED,
        why="systemd instead of PM2; no systemd runs here, the units are checked in tests/deploy",
    )


@pytest.mark.row("Environment: production", "several clients at once are all served")
def test_several_clients_are_served_at_once(row: Row, server: Process) -> None:
    jobs: list[str] = []

    def send() -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=60) as client:
            sent = client.post("/api/process/single", files={"image": PNG})
            jobs.append(sent.json()["jobId"])

    threads = [threading.Thread(target=send) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    states = {ended(server, job_id)["status"] for job_id in jobs}

    assert (len(jobs), states) == (20, {"completed"})
    row(f"20 × {SINGLE} at once", "20 completed")
