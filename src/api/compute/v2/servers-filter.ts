import type { ServerListRequest } from "#/app/servers.ts";
import { AppError } from "#/domain/errors.ts";
import { statesOfStatus } from "#/domain/server.ts";
import { flag } from "./fields.ts";
import { type Query, STRICT_QUERIES_SINCE } from "./query.ts";

type Filter = ServerListRequest["filter"];
type Values = Record<string, string | number | null>;

/** The query of a list of servers, by the microversion. 400 for what cannot be; what admins alone may ask has no effect for others, as in Nova. */
export function serverListRequest(query: Query, { minor, isAdmin, limitMax }: { minor: number; isAdmin: boolean; limitMax: number }): ServerListRequest {
  const allProjects = takeAllProjects(query, isAdmin);
  const projectId = query.take("project_id") ?? query.take("tenant_id");
  const request = {
    ...query.takePage(limitMax),
    offset: 0,
    sort: query.takeSort({ key: "created_at", dir: "desc" }),
    allProjects,
    projectId,
    filter: filterIn(query, minor, isAdmin),
  };
  for (const name of WITHOUT_EFFECT) query.take(name);
  query.refuseRest(minor, STRICT_QUERIES_SINCE);
  return request;
}

/** Filters on what no server here has, or on the insides of Nova's database. */
const WITHOUT_EFFECT = [
  "not-project-id",
  "kernel_id",
  "ramdisk_id",
  "terminated_at",
  "soft_deleted",
  "architecture",
  "vm_mode",
  "node",
  "cell_name",
  "root_device_name",
  "instance_type_id",
  "security_groups",
] as const;

function filterIn(query: Query, minor: number, isAdmin: boolean): Filter {
  const status = statusFilter(query.takeAll("status"));
  const equal = { ...userFilters(query, minor), ...adminFilters(query, isAdmin) };
  const name = nameFilter(query.take("name"));
  const locked = minor >= 73 ? query.takeFlag("locked") : undefined;
  return {
    equal: { ...equal, ...(name?.exact !== undefined && { name: name.exact }) },
    contains: name?.part === undefined ? {} : { name: name.part },
    times: [...takeTime(query, "changes-since", ">="), ...(minor >= 66 ? takeTime(query, "changes-before", "<=") : [])],
    oneOf: status.oneOf,
    ...(locked !== undefined && { isNull: { locked_by: !locked } }),
    flavorId: query.take("flavor")?.split("/").pop(),
    tags: minor >= 26 ? takeTags(query) : undefined,
    nothing: excludesAll(query, isAdmin) || status.nothing === true,
  };
}

/** Without a network of the cloud's, no server has an address; servers that are gone are not kept. */
function excludesAll(query: Query, isAdmin: boolean): boolean {
  const [ip, ip6, deleted] = [query.take("ip"), query.take("ip6"), query.takeFlag("deleted")];
  return Boolean(ip) || Boolean(ip6) || (isAdmin && deleted === true);
}

function userFilters(query: Query, minor: number): Values {
  const configDrive = query.take("config_drive");
  return given({
    id: query.take("uuid"),
    image_id: query.take("image")?.split("/").pop(),
    user_id: query.take("user_id"),
    key_name: query.take("key_name"),
    reservation_id: query.take("reservation_id"),
    availability_zone: query.take("availability_zone"),
    description: minor >= 19 ? query.take("description") : undefined,
    hostname: query.take("hostname"),
    access_ip_v4: query.take("access_ip_v4"),
    access_ip_v6: query.take("access_ip_v6"),
    config_drive: configDrive === undefined ? undefined : Number(flag(configDrive)),
    launch_index: query.takeCount("launch_index"),
    progress: query.takeCount("progress"),
  });
}

function adminFilters(query: Query, isAdmin: boolean): Values {
  const values = {
    host: query.take("host"),
    vm_state: query.take("vm_state"),
    task_state: query.take("task_state"),
    power_state: query.takeCount("power_state"),
    locked_by: query.take("locked_by"),
  };
  return isAdmin ? given(values) : {};
}

function given(values: Readonly<Record<string, string | number | undefined>>): Values {
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string | number] => entry[1] !== undefined));
}

/** Nova takes an expression of its database; clients send names, and `^name$` where they mean the whole. */
function nameFilter(pattern: string | undefined): { exact?: string; part?: string } | undefined {
  if (pattern === undefined) return undefined;
  const whole = /^\^(.*)\$$/s.exec(pattern);
  return whole ? { exact: whole[1] ?? "" } : { part: pattern };
}

/** Statuses that come from what is being done; the others from the state alone. */
const TASKS_OF_STATUS: Readonly<Record<string, readonly string[]>> = {
  REBOOT: ["rebooting"],
  HARD_REBOOT: ["rebooting_hard"],
  REBUILD: ["rebuilding", "rebuild_block_device_mapping", "rebuild_spawning"],
  RESIZE: ["resize_prep", "resize_finish"],
  REVERT_RESIZE: ["resize_reverting"],
};

/** As Nova: a status that needs no task takes all servers of its state. No server is of a status that does not exist. */
function statusFilter(statuses: readonly string[]): Pick<Filter, "oneOf" | "nothing"> {
  if (statuses.length === 0) return {};
  const known = statuses.flatMap((status) => statesOfStatus(status) ?? []);
  if (known.length === 0) return { nothing: true };
  const tasks = statuses.map((status) => TASKS_OF_STATUS[status.toUpperCase()]);
  const vm_state = [...new Set(known.flatMap(({ vmStates }) => vmStates))];
  return { oneOf: { vm_state, ...(tasks.every((each) => each !== undefined) && { task_state: tasks.flat() as string[] }) } };
}

function takeTags(query: Query): Filter["tags"] {
  const list = (name: string) => query.take(name)?.split(",");
  const [all, any, notAll, none] = [list("tags"), list("tags-any"), list("not-tags"), list("not-tags-any")];
  return { ...(all && { all }), ...(any && { any }), ...(notAll && { notAll }), ...(none && { none }) };
}

function takeTime(query: Query, name: string, operator: "<=" | ">="): Filter["times"] {
  const value = query.take(name);
  if (value === undefined) return [];
  const hasZone = /(Z|[+-]\d\d:?\d\d)$/i.test(value.replace(/^\d{4}-\d\d-\d\d/, ""));
  const ms = Date.parse(/[T ]/.test(value) && !hasZone ? `${value}Z` : value);
  if (!/^\d{4}-\d\d-\d\d/.test(value) || Number.isNaN(ms)) throw new AppError("bad_request", `Invalid value for ${name}: ${value} is no time.`);
  return [{ column: "updated_at", operator, ms }];
}

/** Without a value it is yes. */
function takeAllProjects(query: Query, isAdmin: boolean): boolean {
  const [first] = [query.take("all_tenants"), query.take("all_projects")].filter((value) => value !== undefined);
  if (first === undefined || (first !== "" && !isYes(first))) return false;
  if (!isAdmin) throw new AppError("forbidden", 'You may not list the servers of all projects: it needs the role "admin".');
  return true;
}

function isYes(word: string): boolean {
  if (/^(1|t|true|on|y|yes)$/i.test(word)) return true;
  if (/^(0|f|false|off|n|no)$/i.test(word)) return false;
  throw new AppError("bad_request", `Invalid value for all_tenants: ${word} is neither true nor false.`);
}
