// The peer of server.py and scale.py: what one writes with Express, multer, BullMQ and sharp.
//
//   node server.mjs serve FOLDER          HTTP only; prints its address
//   node server.mjs worker FOLDER         takes jobs; any number of processes
//   node server.mjs serve+worker FOLDER   both in one process
//
// REDIS_URL names Redis, QUEUE the queue, CONCURRENCY the jobs at once of a worker.
// POST /batches (multipart `files`, field `work`: web or noop) → {id, total}
// GET /batches/:id → {total, completed, failed}
import { randomUUID } from "node:crypto";
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { Queue, Worker } from "bullmq";
import express from "express";
import { Redis } from "ioredis";
import multer from "multer";
import sharp from "sharp";

const [role, folder] = process.argv.slice(2);
const { REDIS_URL: url, QUEUE: name = "peer", CONCURRENCY = "2" } = process.env;
const redis = new Redis(url, { maxRetriesPerRequest: null });
const queue = new Queue(name, { connection: redis });
const inbox = join(folder, "in");
const outbox = join(folder, "out");
await mkdir(inbox, { recursive: true });
await mkdir(outbox, { recursive: true });

const doing = {
  async web(file, id) {
    const box = { width: 1024, height: 1024, fit: "inside", withoutEnlargement: true };
    const out = join(outbox, `${id}.webp`);
    const { width, height, size } = await sharp(file)
      .autoOrient()
      .resize(box)
      .webp({ quality: 80 })
      .toFile(out);
    return { width, height, size };
  },
  async noop(file) {
    return { size: (await stat(file)).size };
  },
};

async function serve() {
  const app = express();
  const upload = multer({ dest: inbox, limits: { fileSize: 50 << 20, files: 1000 } });
  app.post("/batches", upload.array("files"), async (request, response) => {
    const id = randomUUID();
    const work = request.body.work ?? "web";
    await redis.hset(`batch:${id}`, "total", request.files.length);
    const jobs = request.files.map((file) => ({
      name: work,
      data: { batch: id, file: file.path, name: file.originalname },
      opts: { attempts: 3, removeOnComplete: true, removeOnFail: true },
    }));
    await queue.addBulk(jobs);
    response.status(202).json({ id, total: jobs.length });
  });
  app.get("/batches/:id", async (request, response) => {
    const told = await redis.hgetall(`batch:${request.params.id}`);
    const { total = 0, completed = 0, failed = 0 } = told;
    response.json({ total: +total, completed: +completed, failed: +failed });
  });
  const server = app.listen(0, "127.0.0.1", () =>
    console.log(`peer listens on http://127.0.0.1:${server.address().port}`),
  );
}

function work() {
  const handle = async (job) => doing[job.name](job.data.file, job.id);
  const options = { connection: redis, concurrency: Number(CONCURRENCY) };
  const worker = new Worker(name, handle, options);
  const count = (field) => (job) => redis.hincrby(`batch:${job.data.batch}`, field, 1);
  worker.on("completed", count("completed"));
  worker.on("failed", count("failed"));
  worker.waitUntilReady().then(() => console.log("peer takes jobs"));
}

if (role.includes("serve")) await serve();
if (role.includes("worker")) work();
process.on("SIGTERM", () => process.exit(0));
