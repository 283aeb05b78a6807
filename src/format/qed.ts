import { holds } from "./bytes.ts";
import { readHead, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";

/** QED (QEMU docs/interop/qed_spec.rst): given up by QEMU in favour of qcow2 and no disk_format of OpenStack; always refused. */
export function* readQed(report: Report): Reading {
  const sector = yield* readHead(0, 512);
  if (!holds(sector, 0, "QED\0")) return;
  report.match(sector);
  report.expect(
    false,
    "unsupported_kind",
    'QED images are not taken: convert it with "qemu-img convert -f qed -O qcow2", then upload the result as qcow2.',
  );
}
