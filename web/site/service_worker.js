// Keeps the page's files, so that it opens offline: always all files of one version, as files.json lists them.

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const { scope } = worker.registration;
const PREFIX = `kanji page ${scope} `; // of this page's caches: other pages of the same host have theirs
const LIST = "files.json"; // written by the build; in a cache it comes last, when all others are there
const FALLBACK = "tract.wasm"; // not listed: kept only in browsers that need it
const PATIENCE_MS = 5000; // then the page opens with what is kept

worker.addEventListener("install", (event) => event.waitUntil(keepNewest().then(() => worker.skipWaiting())));
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));
worker.addEventListener("message", (event) => event.waitUntil(keepFallback())); // from a page that runs it
worker.addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request;
  const [address] = url.split(/[?#]/);
  if (method !== "GET" || !address.startsWith(scope)) return;
  const name = address.slice(scope.length) || "index.html";
  if (mode !== "navigate") event.respondWith(respond(event.request, name));
  else if (name === "index.html") event.respondWith(openPage(event));
});

/**
 * Responds with the page of the newest version, whose files are kept first; offline, or after a while, with what is kept.
 *
 * @param {FetchEvent} event
 */
async function openPage(event) {
  const keeping = keepNewest().catch(() => {}); // without a network, or while files are being replaced
  event.waitUntil(keeping);
  await Promise.race([keeping, new Promise((done) => setTimeout(done, PATIENCE_MS))]);
  const names = await listVersions();
  // Only now, so that no page gets files of two versions. (Version 1.1 named its caches by a checksum alone.)
  const isOld = (/** @type {string} */ name) => names.slice(0, -1).includes(name) || /^[0-9a-f]{64}$/.test(name);
  await Promise.all((await caches.keys()).filter(isOld).map((name) => caches.delete(name)));
  return respond(event.request, "index.html");
}

/**
 * @param {Request} request
 * @param {string} name of a file
 */
async function respond(request, name) {
  const [version] = await listVersions();
  return (version && (await (await caches.open(version)).match(name))) || fetch(request);
}

/** @returns {Promise<string[]>} the caches with all files of a version, the oldest first */
async function listVersions() {
  const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX));
  const isWhole = await Promise.all(names.map(async (name) => (await caches.open(name)).match(LIST)));
  return names.filter((_, index) => isWhole[index]);
}

/** Keeps the files that the server has now; those that have not changed are taken from the version before. */
async function keepNewest() {
  const response = await fetch(LIST, { cache: "no-store" });
  /** @type {{ version: string, files: Record<string, string> }} */
  const { version, files } = await response.clone().json();
  const versions = await listVersions();
  if (versions.includes(PREFIX + version)) return;
  const before = versions.length ? await caches.open(versions[versions.length - 1]) : null;
  const checksumsBefore = await before?.match(LIST).then((list) => list?.json());
  const cache = await caches.open(PREFIX + version);
  for (const [name, checksum] of Object.entries(files)) {
    const kept = checksumsBefore?.files[name] === checksum ? await before?.match(name) : null;
    await cache.put(name, kept ?? (await fetchFile(name, checksum)));
  }
  await cache.put(LIST, response);
}

async function keepFallback() {
  const version = (await listVersions()).pop();
  const cache = version && (await caches.open(version));
  if (cache && !(await cache.match(FALLBACK))) await cache.add(new Request(FALLBACK, { cache: "no-cache" }));
}

/**
 * @param {string} name
 * @param {string} checksum which tells a file of another version, as while files are being replaced
 */
async function fetchFile(name, checksum) {
  const response = await fetch(name, { cache: "no-cache" });
  const content = await response.arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== checksum) throw new Error(`${name}: not the file that ${LIST} names`);
  const headers = new Headers(response.headers);
  headers.set("Cache-Control", "no-cache"); // else a tab takes a file that it had before, of whatever version
  return new Response(content, { headers }); // of its own: a browser refuses one that was redirected
}
