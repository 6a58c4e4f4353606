// The peer of images.py: sharp does to every file what our pipeline does, and says its CPU time.
// Usage: node images_peer.mjs MODULES CASE THREADS OUT FILE…   prints {file: CPU ms | null}
import { createRequire } from "node:module";
import { basename, join } from "node:path";

const [modules, name, threads, out, ...files] = process.argv.slice(2);
const sharp = createRequire(join(modules, "package.json"))("sharp");
if (Number(threads)) sharp.concurrency(Number(threads));

const box = { width: 1024, height: 1024, fit: "inside", withoutEnlargement: true };
const encode = {
  jpeg: (image) => image.flatten({ background: "#fff" }).jpeg({ quality: 80, progressive: true }),
  webp: (image) => image.webp({ quality: 80, effort: 4 }),
  fast: (image) => image.webp(), // sharp's defaults: quality 80, effort 4
}[name];

async function run(file) {
  const began = process.cpuUsage();
  await encode(sharp(file).autoOrient().resize(box)).toFile(join(out, `${basename(file)}.out`));
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1000;
}

const spent = {};
await run(files[0]).catch(() => null); // libraries are loaded before anything counts
for (const file of files) spent[file] = await run(file).catch(() => null);
console.log(JSON.stringify(spent));
