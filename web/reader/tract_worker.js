// Runs the network in tract, in a thread of its own, so that drawing never stutters.

import { startTract } from "./tract.js";
import { serve } from "./worker.js";

serve(new URL("./tract.wasm", import.meta.url), async (model, program) => (await startTract(model, program)).run);
