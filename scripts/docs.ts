/**
 * Makes the documents that follow from the code: node scripts/docs.ts. test/tidy.test.ts sees that they are current.
 */
import { writeFileSync } from "node:fs";
import { configurationDocs } from "./configuration-docs.ts";
import { errorsDocs } from "./errors-docs.ts";
import { strategiesDocs } from "./strategies-docs.ts";

/** Each made document by its path. */
export const MADE_DOCS: Readonly<Record<string, () => string>> = {
  "docs/configuration.md": configurationDocs,
  "docs/errors.md": errorsDocs,
  "docs/strategies.md": strategiesDocs,
};

if (import.meta.main) {
  for (const [path, make] of Object.entries(MADE_DOCS)) writeFileSync(path, make());
}
