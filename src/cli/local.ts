import { type Command, Option } from "commander";
import { describeConfig } from "#/config/describe.ts";
import { loadConfig, type LoadedConfig } from "#/config/load.ts";
import { OPTIONS } from "#/config/options.ts";
import type { CommandContext } from "./command.ts";

/** What only main.ts can do, since only it builds things. */
export interface Handlers {
  /** Ends when Mica has ended, after SIGTERM or SIGINT. */
  serve(loaded: LoadedConfig): Promise<void>;
  /** The same for the pools of this host alone, which Mica elsewhere uses. */
  worker(loaded: LoadedConfig): Promise<void>;
  /** Compares the records with the bytes; beside a running Mica too. */
  audit(loaded: LoadedConfig): Promise<readonly Finding[]>;
}

/** Something that the audit found: what is amiss with what, and what to do. */
export interface Finding {
  readonly kind: string;
  readonly subject: string;
  readonly message: string;
  readonly fix: string;
}

type Flags = Readonly<Record<string, string>>;

export function addServeCommand(program: Command, handlers: Handlers): void {
  const command = program.command("serve").description("run Mica in the foreground, until SIGTERM or Ctrl-C");
  withConfigOptions(command).action(async (flags: Flags) => handlers.serve(load(flags)));
}

/** Its own addresses and certificates have short names here. */
export function addWorkerCommand(program: Command, handlers: Handlers): void {
  const command = program.command("worker").description("serve the pools of this host to Mica on other hosts, until SIGTERM or Ctrl-C");
  command.option("--config <file>", "the configuration file; else MICA_CONFIG, else mica.json in the data folder");
  for (const [flag, key] of Object.entries(WORKER_FLAGS)) command.addOption(new Option(`${flag} <value>`, WORKER_WORDS[flag] ?? helpOf(optionOf(key))));
  command.action(async ({ config, ...flags }: Flags) => {
    const keys = Object.entries(WORKER_FLAGS).map(([flag, key]) => [key, flags[new Option(flag).attributeName()]] as const);
    await handlers.worker(loadConfig({ flags: { config, ...Object.fromEntries(keys) } }));
  });
}

/** The short flags of `mica worker`, and the options that they are. */
export const WORKER_FLAGS: Readonly<Record<string, string>> = { "--data-dir": "dataDir", "--listen": "worker.listen", "--listen-nbd": "worker.listenNbd", "--tls-dir": "worker.tlsDir", "--log-level": "logLevel" };

/** What options are to a worker, where that is other than to `mica serve`. */
const WORKER_WORDS: Readonly<Record<string, string>> = {
  "--data-dir": "What the worker notes of its pools, and its certificates, unless --tls-dir says where those are.",
  "--log-level": "info has one line per request.",
};

/** The documents' words, without their marks. */
function helpOf({ schema }: (typeof OPTIONS)[number]): string {
  return schema.description?.replaceAll("`", "") ?? "";
}

function optionOf(key: string): (typeof OPTIONS)[number] {
  const option = OPTIONS.find((candidate) => candidate.key === key);
  if (!option) throw new Error(`Broken invariant: there is no option ${key}`);
  return option;
}

export function addConfigCommand(program: Command, { terminal }: CommandContext): void {
  const command = program
    .command("config")
    .description("print the configuration in force, without secrets, and where each value comes from");
  withConfigOptions(command.option("--json", "print JSON instead of text")).action(({ json, ...flags }: Flags & { json?: boolean }) => {
    const loaded = load(flags);
    const rows = describeConfig(loaded);
    if (json) return terminal.json(rows);
    terminal.line(
      terminal.style("dim", loaded.file ? `File: ${loaded.file}` : `No file: ${loaded.config.dataDir}/mica.json is not there.`),
    );
    terminal.table(
      ["OPTION", "FROM", "VALUE"],
      rows.map(({ key, value, source }) => [key, source, value === undefined ? "(not set)" : shown(value)]),
    );
    for (const warning of loaded.warnings) terminal.complain(`warning: ${warning}`);
  });
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

export function addAuditCommand(program: Command, { terminal, exitWith }: CommandContext, handlers: Handlers): void {
  const command = program.command("audit").description("compare the records with the bytes: 0 when clean, 1 with a line per finding");
  withConfigOptions(command.option("--json", "print JSON instead of text")).action(
    async ({ json, ...flags }: Flags & { json?: boolean }) => {
      const findings = await handlers.audit(load(flags));
      if (findings.length > 0) exitWith(1);
      if (json) return terminal.json({ findings });
      if (findings.length === 0)
        return terminal.line("clean: every record has its bytes, every byte its record, and the quotas are the sums.");
      for (const { kind, subject, message, fix } of findings) terminal.line(`${kind}  ${subject}  ${message}  → ${fix}`);
    },
  );
}

/** Every option of the configuration as a flag; the everyday ones first. */
function withConfigOptions(command: Command): Command {
  command.option("--config <file>", "the configuration file; else MICA_CONFIG, else mica.json in the data folder");
  for (const option of OPTIONS) {
    if (option.flag) command.addOption(new Option(`${option.flag} <value>`, helpOf(option)));
  }
  return command;
}

/** Commander gives the flags in camel case without dots; the configuration wants its keys. */
function load(flags: Flags): LoadedConfig {
  const keys = OPTIONS.flatMap(({ key, flag }) => (flag ? [[key, flags[new Option(flag).attributeName()]] as const] : []));
  return loadConfig({ flags: { config: flags.config, ...Object.fromEntries(keys) } });
}
