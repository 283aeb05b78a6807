import type { GuestEvent } from "#/vm/driver.ts";
import { GUEST_NAME_PREFIX } from "#/vm/guest.ts";
import { diskOfAlias } from "#/vm/libvirt/disk-xml.ts";
import { EVENTS, readDomain } from "#/vm/libvirt/protocol.ts";
import { stateOfEvent } from "#/vm/libvirt/states.ts";
import type { XdrReader } from "#/vm/libvirt/xdr.ts";

/** An event of a guest of Mica's; undefined for all others. */
export function readEvent(procedure: number, body: XdrReader): GuestEvent | undefined {
  const read = READERS[procedure];
  if (!read) return undefined;
  body.int(); // Which registration it answers.
  const { name, uuid } = readDomain(body);
  return name.startsWith(GUEST_NAME_PREFIX) ? read(uuid, body) : undefined;
}

const READERS: Readonly<Record<number, (id: string, body: XdrReader) => GuestEvent | undefined>> = {
  [EVENTS.lifecycle.number]: (id, body) => {
    const found = stateOfEvent(body.int(), body.int());
    return found && { kind: "state", id, ...found };
  },
  [EVENTS.agent.number]: (id, body) => ({ kind: "agent", id, connected: body.int() === AGENT_CONNECTED }),
  [EVENTS.blockJob.number]: (id, body) => {
    const target = body.string();
    body.int(); // What kind of job.
    const status = JOB_STATUSES[body.int()];
    return status && { kind: "block_job", id, target, status };
  },
  [EVENTS.ioError.number]: (id, body) => {
    body.string(); // The path of the disk.
    const target = diskOfAlias(body.string());
    const paused = body.int() === IO_ERROR_PAUSE;
    return { kind: "io_error", id, target, paused, reason: body.string() };
  },
  [EVENTS.deviceRemoved.number]: (id, body) => {
    const alias = body.string();
    const target = diskOfAlias(alias);
    return target === alias ? undefined : { kind: "disk_detached", id, target };
  },
};

const AGENT_CONNECTED = 1;
const IO_ERROR_PAUSE = 1;
const JOB_STATUSES = ["completed", "failed", "cancelled", "ready"] as const;
