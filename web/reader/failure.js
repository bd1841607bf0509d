/** @import { Failure } from "./types.js" */

/**
 * @param {Failure} failure
 * @param {string} detail for developers
 */
export function makeError(failure, detail) {
  return new Error(detail, { cause: failure });
}
