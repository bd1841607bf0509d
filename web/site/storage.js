// What the browser keeps for the page, where it keeps anything.

/**
 * @template T
 * @param {"localStorage" | "sessionStorage"} kind
 * @param {(storage: Storage) => T} use
 * @returns {T | null} null where the browser keeps nothing for pages, or not that much
 */
export function useStorage(kind, use) {
  try {
    return use(window[kind]);
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}
