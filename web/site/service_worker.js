// Caches the page's files, so that it opens offline; online, the network's files are shown.

/** @typedef {{ version: string, files: string[] }} Kept every file of the page, and what names this set of them */

const worker = /** @type {ServiceWorkerGlobalScope & { KEPT: Kept }} */ (/** @type {unknown} */ (self));
worker.importScripts("kept_files.js"); // written by the build; any change in it makes this another service worker
const { version, files } = worker.KEPT;

worker.addEventListener("install", (event) => event.waitUntil(keepFiles()));
worker.addEventListener("activate", (event) => event.waitUntil(forgetOldFiles()));
worker.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && new URL(url).origin === worker.location.origin) event.respondWith(respond(event.request));
});

async function keepFiles() {
  const cache = await caches.open(version);
  await cache.addAll(files.map((file) => new Request(file, { cache: "no-cache" })));
  await worker.skipWaiting();
}

async function forgetOldFiles() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name !== version).map((name) => caches.delete(name)));
  await worker.clients.claim();
}

/**
 * Responds from the network, or from the cache where there is none.
 *
 * @param {Request} request
 */
async function respond(request) {
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await caches.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
