// The loop that one writes with sharp: several files in flight, one group after another.
// Usage: node loop.mjs MODULES JOB.json   prints {group: CPU ms}
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, parse } from "node:path";

const [modules, job] = process.argv.slice(2);
const sharp = createRequire(join(modules, "package.json"))("sharp");
const { kind, out, at_once: atOnce, groups } = JSON.parse(readFileSync(job, "utf8"));

const box = { width: 1024, height: 1024, fit: "inside", withoutEnlargement: true };
const encode = {
  jpeg: (image) => image.flatten({ background: "#fff" }).jpeg({ quality: 80, progressive: true }),
  webp: (image) => image.webp({ quality: 80 }),
}[kind];

async function take(files) {
  for (let file = files.pop(); file; file = files.pop()) {
    const made = join(out, `${parse(basename(file)).name}.${kind}`);
    await encode(sharp(file).autoOrient().resize(box)).toFile(made);
  }
}

const spent = {};
for (const [name, files] of Object.entries(groups)) {
  const began = process.cpuUsage();
  await Promise.all(Array.from({ length: atOnce }, () => take(files)));
  const { user, system } = process.cpuUsage(began);
  spent[name] = (user + system) / 1000;
}
console.log(JSON.stringify(spent));
