import type { Report } from "./report.ts";

/**
 * The text that describes a VMDK (VMware Virtual Disk Format 5.0, "The Descriptor File"). It is where outside files
 * come in (CVE-2022-47951), so it is read strictly: a line that is not understood refuses the image.
 *
 * QEMU's block/vmdk.c searches for `parentCID` and `parentFileNameHint` anywhere in the text, comments included, so
 * these two are searched here in the same way.
 */
interface Descriptor {
  readonly createType: string | undefined;
  readonly extents: readonly Extent[];
}

interface Extent {
  readonly access: string;
  readonly sectors: number;
  readonly kind: string;
  readonly name: string;
}

/** The kinds that keep all their data in the one file, which is what VMware's and OpenStack's tools upload. */
const CREATE_TYPES = ["monolithicSparse", "streamOptimized"];
const ASSIGNMENT = /^([A-Za-z0-9_.]+)\s*=\s*(.*)$/;
const EXTENT = /^(RW|RDONLY|NOACCESS)\s+(\d{1,15})\s+([A-Z]+)\s+"([^"]*)"\s*(\d{1,15})?$/;
const FILE_NAME = /^[^/\\:]{1,255}$/;
const FLATTEN = 'make a single file of it with "qemu-img convert -O vmdk -o subformat=streamOptimized", then upload that.';

/** Checks the text of an embedded descriptor; `sectors` is the capacity in the header. */
export function checkDescriptor(report: Report, text: string, { sectors, grainSectors }: { sectors: number; grainSectors: number }): void {
  if (!report.expect(/^[\t\r\n\x20-\x7e\x80-\xff]*$/.test(text), "bad_field", `The VMDK descriptor has control characters: ${FLATTEN}`))
    return;
  checkParent(report, text);
  const { createType, extents } = parseDescriptor(report, text);
  report.expect(
    createType !== undefined && CREATE_TYPES.includes(createType),
    "unsupported_kind",
    `The VMDK has createType ${quote(createType ?? "")}, and ${CREATE_TYPES.join(" and ")} are taken: ${FLATTEN}`,
  );
  const [extent] = extents;
  if (
    !report.expect(
      extents.length === 1 && extent !== undefined,
      "outside_extent",
      `The VMDK describes ${extents.length} extents, and only one can be in this file: ${FLATTEN}`,
    )
  )
    return;
  checkExtent(report, extent as Extent, { sectors, grainSectors });
}

function checkParent(report: Report, text: string): void {
  report.expect(!/parentFileNameHint/i.test(text), "parent", `The VMDK names a parent disk: ${FLATTEN}`);
  const parents = [...text.matchAll(/parentCID(.{0,16})/gi)].map((match) => match[1] ?? "");
  report.expect(
    parents.every((value) => /^\s*=\s*f{8}\s*$/i.test(value)),
    "parent",
    `The VMDK depends on a parent disk (parentCID): ${FLATTEN}`,
  );
}

/** Takes the lines apart. Those that are neither comment, `name=value` nor extent are refused. */
function parseDescriptor(report: Report, text: string): Descriptor {
  const extents: Extent[] = [];
  const values = new Map<string, string>();
  for (const line of text.split("\n").map((raw) => raw.trim())) {
    if (line === "" || line.startsWith("#")) continue;
    const extent = EXTENT.exec(line);
    const assignment = ASSIGNMENT.exec(line);
    if (extent) extents.push({ access: extent[1] ?? "", sectors: Number(extent[2]), kind: extent[3] ?? "", name: extent[4] ?? "" });
    else if (assignment) addValue(report, values, assignment[1] ?? "", assignment[2] ?? "");
    else report.expect(false, "bad_field", `The VMDK descriptor has the line ${quote(line)}, which is not understood: ${FLATTEN}`);
  }
  return { createType: values.get("createtype")?.replace(/^"(.*)"$/, "$1"), extents };
}

function addValue(report: Report, values: Map<string, string>, name: string, value: string): void {
  const key = name.toLowerCase();
  report.expect(!values.has(key) || key.startsWith("ddb."), "bad_field", `The VMDK descriptor has ${quote(name)} twice: ${FLATTEN}`);
  report.expect(key !== "changetrackpath", "outside_extent", `The VMDK names a change tracking file: ${FLATTEN}`);
  values.set(key, value);
}

function checkExtent(report: Report, extent: Extent, { sectors, grainSectors }: { sectors: number; grainSectors: number }): void {
  report.expect(
    extent.kind === "SPARSE" && extent.access !== "NOACCESS",
    "outside_extent",
    `The VMDK has its data in an extent of kind ${quote(`${extent.access} ${extent.kind}`)}: ${FLATTEN}`,
  );
  report.expect(
    FILE_NAME.test(extent.name),
    "outside_extent",
    `The VMDK names the outside file or device ${quote(extent.name)}: ${FLATTEN}`,
  );
  report.expect(
    Math.abs(extent.sectors - sectors) <= grainSectors,
    "bad_field",
    `The VMDK descriptor says ${extent.sectors} sectors, and its header ${sectors}: ${FLATTEN}`,
  );
}

/** A foreign word for a message: short, and with nothing that a terminal would obey. */
function quote(word: string): string {
  return JSON.stringify(word.slice(0, 64)).replace(/[\x7f-\xff]/g, "?");
}

/**
 * Whether a file begins like a descriptor that stands alone, as QEMU's vmdk_probe sees it: comments and blank lines,
 * then `version=1` to `3`; or VMware's own first line.
 */
export function isDescriptorFile(text: string): boolean {
  return /^# disk descriptorfile/i.test(text) || /^(?:#[^\n]*\n| *\r?\n)*version=[123]\r?\n/.test(text);
}
