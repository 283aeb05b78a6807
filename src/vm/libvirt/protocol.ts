import type { XdrReader, XdrWriter } from "#/vm/libvirt/xdr.ts";

/**
 * Libvirt's wire protocol, as of 9.0: src/remote/remote_protocol.x, src/remote/qemu_protocol.x, src/rpc/virnetprotocol.x. The numbers
 * are an interface that libvirt keeps: older clients work with newer daemons.
 */

export const PROGRAM = { remote: 0x20008086, qemu: 0x20008087, keepalive: 0x6b656570 } as const;

/** What kind of message it is (virNetMessageType), and how a call ended (virNetMessageStatus). */
export const MESSAGE = { call: 0, reply: 1, event: 2 } as const;
export const STATUS_OK = 0;
export const KEEPALIVE = { ping: 1, pong: 2 } as const;

/** The call, in which program. */
export interface Procedure {
  readonly program: number;
  readonly number: number;
  readonly name: string;
}
const remote = (number: number, name: string): Procedure => ({ program: PROGRAM.remote, number, name });

export const CALLS = {
  connectOpen: remote(1, "open"),
  connectClose: remote(2, "close"),
  getVersion: remote(4, "getVersion"),
  getNodeInfo: remote(6, "getNodeInfo"),
  attachDevice: remote(160, "attachDevice"),
  abortJob: remote(164, "abortJob"),
  authList: remote(66, "authList"),
  backupBegin: remote(421, "backupBegin"),
  backupGetXml: remote(422, "backupGetXml"),
  blockCopy: remote(345, "blockCopy"),
  blockJobAbort: remote(237, "blockJobAbort"),
  blockResize: remote(251, "blockResize"),
  blockStats: remote(64, "blockStats"),
  checkpointDelete: remote(417, "checkpointDelete"),
  checkpointGetXml: remote(412, "checkpointGetXml"),
  create: remote(196, "create"),
  define: remote(350, "define"),
  destroy: remote(234, "destroy"),
  detachDevice: remote(161, "detachDevice"),
  detachDeviceAlias: remote(392, "detachDeviceAlias"),
  freeze: remote(335, "freeze"),
  getBlockInfo: remote(194, "getBlockInfo"),
  getBlockJobInfo: remote(238, "getBlockJobInfo"),
  getHostname: remote(59, "getHostname"),
  getLibVersion: remote(157, "getLibVersion"),
  getState: remote(212, "getState"),
  getXml: remote(14, "getXml"),
  hasManagedSave: remote(183, "hasManagedSave"),
  listAllCheckpoints: remote(413, "listAllCheckpoints"),
  listAllDomains: remote(273, "listAllDomains"),
  managedSave: remote(182, "managedSave"),
  managedSaveRemove: remote(184, "managedSaveRemove"),
  reboot: remote(27, "reboot"),
  registerEvent: remote(316, "registerEvent"),
  reset: remote(245, "reset"),
  resume: remote(28, "resume"),
  secretDefine: remote(142, "secretDefine"),
  secretSetValue: remote(144, "secretSetValue"),
  setAgentResponseTimeout: remote(420, "setAgentResponseTimeout"),
  setUserPassword: remote(357, "setUserPassword"),
  shutdown: remote(258, "shutdown"),
  supportsFeature: remote(60, "supportsFeature"),
  suspend: remote(34, "suspend"),
  thaw: remote(336, "thaw"),
  undefine: remote(231, "undefine"),
  agentCommand: { program: PROGRAM.qemu, number: 3, name: "agentCommand" },
} as const satisfies Record<string, Procedure>;

/** Events, by the id that they are asked for with (virDomainEventID) and the number that they come as. */
export const EVENTS = {
  lifecycle: { id: 0, number: 318 },
  ioError: { id: 6, number: 324 },
  deviceRemoved: { id: 15, number: 333 },
  blockJob: { id: 16, number: 339 },
  agent: { id: 18, number: 348 },
} as const;

/** Bits and choices of single calls, named as in libvirt-domain.h and libvirt-domain-checkpoint.h. */
export const FLAGS = {
  affectLive: 1,
  affectConfig: 2,
  xmlInactive: 2,
  undefineManagedSave: 1 << 0,
  undefineSnapshotsMetadata: 1 << 1,
  undefineNvram: 1 << 2,
  undefineCheckpointsMetadata: 1 << 4,
  backupBeginReuseExternal: 1 << 0,
  blockResizeBytes: 1,
  blockCopyShallow: 1 << 0,
  blockCopyReuseExternal: 1 << 1,
  blockCopyTransientJob: 1 << 2,
  blockJobAbortPivot: 1 << 1,
  checkpointXmlNoDomain: 1 << 1,
  checkpointDeleteMetadataOnly: 1 << 1,
  checkpointListTopological: 1 << 1,
} as const;

/** As libvirtd knows a domain. It looks for the UUID alone. */
export interface DomainRef {
  readonly name: string;
  readonly uuid: string;
}

export function writeDomain(writer: XdrWriter, { name, uuid }: DomainRef): XdrWriter {
  return writer.string(name).opaque(Buffer.from(uuid.replaceAll("-", ""), "hex")).int(-1);
}

export function readDomain(reader: XdrReader): DomainRef {
  const name = reader.string();
  const uuid = reader.opaque(16).toString("hex");
  reader.int(); // The id of a running domain.
  return { name, uuid: uuid.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5") };
}
