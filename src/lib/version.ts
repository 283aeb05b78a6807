import manifest from "../../package.json" with { type: "json" };

/** Mica's own version, as packages and tools show it. */
export const VERSION: string = manifest.version;
