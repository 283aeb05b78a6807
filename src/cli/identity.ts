import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import type { IdentityNoun, IdentityRecord, RoleAssignment } from "#/client/identity.ts";
import { type Client, type ClientOptions, type CommandContext, connect, withClientOptions } from "./command.ts";
import type { Terminal } from "./terminal.ts";

export function addProjectCommand(program: Command, context: CommandContext): void {
  const project = program.command("project").description("projects: list, create, delete");
  addListAndDelete(project, "project", context);
  withClientOptions(project.command("create").argument("<name>")).action(async (name: string, options: ClientOptions) => {
    const { identity } = await connect(options);
    showRecord(context.terminal, await identity.create("project", { name }), options);
  });
}

export function addUserCommand(program: Command, context: CommandContext): void {
  const user = program.command("user").description("users: list, create, delete");
  addListAndDelete(user, "user", context);
  const create = user
    .command("create")
    .argument("<name>")
    .option("--project <project>", "give it a role there at once")
    .option("--role <role>", "that role", "member")
    .option("--password-file <file>", "read its password from the file, - for standard input; made and printed where left out");
  withClientOptions(create).action(async (name: string, options: CreateUserOptions) => createUser(context.terminal, name, options));
}

interface CreateUserOptions extends ClientOptions {
  readonly project?: string;
  readonly role: string;
  readonly passwordFile?: string;
}

async function createUser(terminal: Terminal, name: string, options: CreateUserOptions): Promise<void> {
  const client = await connect(options);
  const project = options.project === undefined ? undefined : await client.identity.find("project", options.project);
  const role = project && (await client.identity.find("role", options.role));
  const password = options.passwordFile === undefined ? randomBytes(18).toString("base64url") : await readPassword(options.passwordFile);
  const user = await client.identity.create("user", { name, password, ...(project ? { default_project_id: project.id } : {}) });
  if (project && role) await client.identity.setRole("PUT", role.id, user.id, project.id);
  showRecord(terminal, { ...user, ...(options.passwordFile === undefined ? { password } : {}) }, options);
}

async function readPassword(file: string): Promise<string> {
  return (await readFile(file === "-" ? "/dev/stdin" : file, "utf8")).replace(/\r?\n$/, "");
}

export function addRoleCommand(program: Command, context: CommandContext): void {
  const role = program.command("role").description("who may do what where: list, grant, revoke");
  withClientOptions(role.command("list").description("all roles that users have on projects")).action(async (options: ClientOptions) => {
    const { identity } = await connect(options);
    const assignments = await identity.roleAssignments();
    if (options.json) context.terminal.json(assignments);
    else context.terminal.table(["USER", "PROJECT", "ROLE"], assignments.map(assignmentRow));
  });
  addSetRole(role, "grant", context);
  addSetRole(role, "revoke", context);
}

function assignmentRow({ user, scope, role }: RoleAssignment): string[] {
  const name = (record: { name?: string; id: string } | undefined, otherwise: string) => record?.name ?? record?.id ?? otherwise;
  return [name(user, "?"), name(scope.project, "(not on a project)"), name(role, "?")];
}

function addSetRole(parent: Command, verb: "grant" | "revoke", { terminal }: CommandContext): void {
  const command = parent
    .command(verb)
    .argument("<role>", "admin, member, reader or service")
    .requiredOption("--user <user>", "its name or id")
    .requiredOption("--project <project>", "its name or id");
  withClientOptions(command).action(async (roleName: string, options: ClientOptions & { user: string; project: string }) => {
    const { identity }: Client = await connect(options);
    const role = await identity.find("role", roleName);
    const user = await identity.find("user", options.user);
    const project = await identity.find("project", options.project);
    await identity.setRole(verb === "grant" ? "PUT" : "DELETE", role.id, user.id, project.id);
    if (options.json) terminal.json({ role: role.id, user: user.id, project: project.id, granted: verb === "grant" });
    else terminal.line(`${user.name} ${verb === "grant" ? "now has" : "no longer has"} the role ${role.name} on ${project.name}.`);
  });
}

function addListAndDelete(parent: Command, noun: IdentityNoun, { terminal }: CommandContext): void {
  withClientOptions(parent.command("list")).action(async (options: ClientOptions) => {
    const { identity } = await connect(options);
    const records = await identity.list(noun);
    if (options.json) terminal.json(records);
    else
      terminal.table(
        ["ID", "NAME", "ENABLED"],
        records.map(({ id, name, enabled }) => [id, name, enabled === false ? "no" : "yes"]),
      );
  });
  withClientOptions(parent.command("delete").argument(`<${noun}>`, "its name or id")).action(
    async (idOrName: string, options: ClientOptions) => {
      const { identity } = await connect(options);
      const { id, name } = await identity.find(noun, idOrName);
      await identity.delete(noun, id);
      if (options.json) terminal.json({ deleted: id });
      else terminal.line(`Deleted the ${noun} ${name} (${id}).`);
    },
  );
}

function showRecord(terminal: Terminal, record: IdentityRecord & { readonly password?: string }, { json }: ClientOptions): void {
  if (json) return terminal.json(record);
  terminal.facts({ ID: record.id, Name: record.name, Password: record.password && `${record.password}  (shown only now)` });
}
