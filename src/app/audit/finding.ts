/** Something that is not as it must be: bytes or records without an owner, or sums that differ. */
export interface Finding {
  readonly kind: FindingKind;
  /** What it is about: "disk 7f…", "pool local", "project 1c…". */
  readonly subject: string;
  readonly message: string;
  /** What to do about it. */
  readonly fix: string;
}

export const FINDING_KINDS = {
  orphan_bytes: "Check that nothing outside Mica uses the file, then remove it.",
  missing_bytes: "Restore the pool's files from a backup, or delete the record that holds the disk.",
  orphan_guest: "Check that nobody uses the guest, then end and undefine it (virsh destroy, virsh undefine).",
  open_view: "End it: restart the guest, or use virsh domjobabort, or virsh blockjob --abort for a mirror; the guest goes on.",
  orphan_snapshot: "Delete the snapshot: nobody but its image made use of it.",
  orphan_disk: "Report it: a disk without a holder is a defect. Its bytes are safe to remove.",
  dangling_record: "Delete the record: its bytes are gone.",
  lost_guest: "Reboot the server hard: its guest is defined anew. Its disks are there.",
  wrong_status: "Nothing is lost: set the volume's status to what is so (openstack volume set --state in-use --attached, or --state available --detached).",
  broken_chain: "Restore the parent's file from a backup; the disk cannot be read without it.",
  unfinished: "Restart the service: it takes up what is unfinished. If it stays, report it.",
  stuck_operation: "Read the operation's error (`mica operations show`), mend the cause; it is tried again every minute.",
  wrong_sum: "Report it: a sum that differs from its records is a defect.",
  pool_unavailable: "Mount or repair the pool's location.",
} as const;
export type FindingKind = keyof typeof FINDING_KINDS;

export function finding(kind: FindingKind, subject: string, message: string): Finding {
  return { kind, subject, message, fix: FINDING_KINDS[kind] };
}
