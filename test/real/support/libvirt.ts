import { mkdtemp, readFile } from "node:fs/promises";
import { join } from "node:path";
import Value from "typebox/value";
import { HYPERVISOR_SCHEMA, type HypervisorConfig } from "#/config/hypervisor.ts";
import { silentLog } from "#/lib/log.ts";
import { MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import { guestName } from "#/vm/guest.ts";
import { LibvirtDriver } from "#/vm/libvirt/driver.ts";
import { userCache } from "./user-cache.ts";

const timeoutMs = MINUTE_MS;

/** A real libvirtd of this test's own; gone, with its guests and all it held, when it is disposed of, or when this process ends. */
export interface Libvirt extends AsyncDisposable {
  /** In its `tls` is where QEMU finds the certificates for disks on other hosts. */
  readonly folder: string;
  readonly socketPath: string;
  /** A driver as Mica opens it, with settings for impatient tests. */
  open(config?: Partial<HypervisorConfig>, owner?: string): LibvirtDriver;
  /** Kills libvirtd at once; its guests run on. */
  kill(): Promise<void>;
  /** Starts it again: it finds its guests. */
  restart(): Promise<void>;
  /** The process of libvirtd, and of a guest's QEMU. */
  pid(): Promise<number>;
  qemuPid(id: string): Promise<number>;
}

export async function startLibvirt(): Promise<Libvirt> {
  // Sockets of guests lie in it, and their addresses are short.
  const folder = await mkdtemp("/tmp/mica-libvirt-");
  const script = (name: string, ...args: string[]) => run("bash", [join(import.meta.dirname, name), folder, ...args], { timeoutMs });
  const up = () => script("libvirt-up.sh", String(process.pid), userCache("mica-libvirt"));
  const pidIn = async (path: string) => Number(await readFile(join(folder, path), "utf8"));
  const down = async () => void (await script("libvirt-down.sh"));
  try {
    const socketPath = (await up()).stdout.trim();
    return {
      folder,
      socketPath,
      open: (config = {}, owner = "test") => new LibvirtDriver({ ...testConfig(), ...config }, { socketPath, owner, log: silentLog }),
      async kill() {
        process.kill(await pidIn("libvirtd.pid"), "SIGKILL");
      },
      async restart() {
        await up();
      },
      pid: () => pidIn("libvirtd.pid"),
      qemuPid: (id) => pidIn(`run/qemu/${guestName(id)}.pid`),
      [Symbol.asyncDispose]: down,
    };
  } catch (error) {
    await down();
    throw error;
  }
}

/** The defaults; guests that hang, and a daemon that is away, are noticed soon. */
function testConfig(): HypervisorConfig {
  const defaults = Value.Default(HYPERVISOR_SCHEMA, { driver: "libvirt" }) as HypervisorConfig;
  return { ...defaults, virtType: "qemu", agentTimeoutMs: 5000, reconnectDelayMsMax: 500, keepaliveIntervalMs: 1000 };
}
