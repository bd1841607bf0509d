// The engine that runs the network; serve_web.py --engine writes another one here.

/** @type {"auto" | "tract"} */
export const ENGINE = "auto";
