import { type Command, Option } from "commander";
import { findCloud } from "#/client/cloud.ts";
import { Identity } from "#/client/identity.ts";
import { Images } from "#/client/images.ts";
import { Maps } from "#/client/maps.ts";
import { Mica } from "#/client/mica.ts";
import { Servers } from "#/client/servers.ts";
import { Session } from "#/client/session.ts";
import { Volumes } from "#/client/volumes.ts";
import { loadConfig } from "#/config/load.ts";
import type { Terminal } from "./terminal.ts";

/** What a command is given beside its own arguments. */
export interface CommandContext {
  readonly terminal: Terminal;
  /** Ends with Ctrl-C. */
  readonly signal: AbortSignal;
  /** The exit code of a command that did its work and found something amiss. */
  exitWith(code: number): void;
}

/** Options of every command that speaks to a running Mica. */
export interface ClientOptions {
  readonly osCloud?: string;
  readonly dataDir?: string;
  readonly json?: boolean;
}

export interface Client {
  readonly session: Session;
  readonly identity: Identity;
  readonly images: Images;
  readonly volumes: Volumes;
  readonly servers: Servers;
  readonly mica: Mica;
  readonly maps: Maps;
}

/** Adds them to a command. */
export function withClientOptions(command: Command): Command {
  return command
    .option("--json", "print JSON instead of text")
    .addOption(new Option("--os-cloud <name>", "the entry of clouds.yaml to use").env("OS_CLOUD"))
    .option("--data-dir <dir>", "the data folder of the Mica to speak to, for its clouds.yaml");
}

/** Logs in. */
export async function connect({ osCloud, dataDir }: ClientOptions): Promise<Client> {
  const { config } = loadConfig({ flags: { dataDir } });
  const session = await Session.open(findCloud({ name: osCloud, dataDir: config.dataDir }));
  return { session, identity: new Identity(session), images: new Images(session), volumes: new Volumes(session), servers: new Servers(session), mica: new Mica(session), maps: new Maps(session) };
}
