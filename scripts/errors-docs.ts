import { ERRORS } from "#/domain/errors.ts";
import { markdownTable } from "./markdown-table.ts";

const INTRODUCTION = `<!-- Made from src/domain/errors.ts by \`make docs\`: change it there. -->
# Errors

Every failure that Mica can tell a caller about. Mica's own API (\`/mica/v1\`), operations and the log carry the code; the OpenStack
APIs say the same in their own shapes, with this status unless their contract wants another. The message says what Mica was doing
and why it failed; "what to do" is what the \`mica\` command prints below it. "Retry" means: the same request may succeed later without
a change.
`;

/** docs/errors.md. */
export function errorsDocs(): string {
  const rows = Object.entries(ERRORS).map(([code, { status, retry, fix }]) => [`\`${code}\``, String(status), retry ? "yes" : "no", fix]);
  return `${INTRODUCTION}\n${markdownTable(["code", "HTTP", "retry", "what to do"], rows).join("\n")}\n`;
}
