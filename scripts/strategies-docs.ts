import { FORMATS, MATRIX, SOURCES, TARGETS } from "../test/support/strategy-matrix.ts";
import { markdownTable } from "./markdown-table.ts";

const INTRODUCTION = `<!-- Made from test/support/strategy-matrix.ts by \`make docs\`: change it there. -->
# From an image to a volume: which way, and what it moves

Rows: the pool that the volume goes to. Columns: where the image is, and its format; \`qcow2\` stands for all formats but raw, since
a volume's bytes are plain. Each cell says how the first volume of an image is made, and how the next ones are, where that differs.
\`make test-real\` makes these volumes on the real storage, all of them, and compares the way, the bytes moved and the content.

| way | bytes through Mica | temporary files |
| --- | --- | --- |
| \`clone\`, \`clone_cached\` | none | none |
| \`offload_copy\` | none: the storage copies by itself | none |
| \`stream_convert\` | the data, without holes and zeroes, once | none |
| \`staged_convert\` | the data, twice | the data: only where QEMU can't reach the source or the target |

The tables hold for the defaults. With \`cloneDepthMax\` 0 a pool whose clones depend on their parents never clones: what could be a
clone is then an \`offload_copy\` inside a place that has one, and a \`stream_convert\` elsewhere. Without the role \`cache\` nothing is cached: every volume is
converted. A way that breaks gives way to the next one, and the operation says why (\`mica operations\`).

Pools of one *place* share and copy bytes among each other: one file system, one export, one Ceph cluster. \`mica pools\` shows the place of each.
`;

/** docs/strategies.md. */
export function strategiesDocs(): string {
  const tables = FORMATS.flatMap((format) => {
    const rows = TARGETS.map((target) => [target, ...SOURCES.map((source) => cell(MATRIX[target][source]?.[format]))]);
    return [`## ${format} images`, "", ...markdownTable(["volume in", ...SOURCES], rows), ""];
  });
  return [INTRODUCTION, ...tables].join("\n");
}

function cell(ways: readonly [string, string] | undefined): string {
  if (!ways) return "–";
  const [first, next] = ways;
  return first === next ? `\`${first}\`` : `\`${first}\`, then \`${next}\``;
}
