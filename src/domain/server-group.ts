import { AppError } from "./errors.ts";

export const SERVER_GROUP_POLICIES = ["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"] as const;
export type ServerGroupPolicy = (typeof SERVER_GROUP_POLICIES)[number];

/** Servers that belong on one host, or on different ones. */
export interface ServerGroup {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly name: string;
  readonly policy: ServerGroupPolicy;
  /** Of anti-affinity: how many of them one host may run. Null: one. */
  readonly serversPerHostMax: number | null;
}

/** What a request says of where its servers are to be; others of its words have no meaning here, and are only shown again. */
export interface SchedulerHints {
  readonly [name: string]: unknown;
  readonly group?: string | undefined;
  readonly different_host?: string | readonly string[] | undefined;
  readonly same_host?: string | readonly string[] | undefined;
}

/** 404 in Nova's words (exception.InstanceGroupNotFound). */
export const serverGroupNotFound = (id: string): AppError => new AppError("not_found", `Instance group ${id} could not be found.`);

/** 400 in the words of Nova's scheduler (exception.NoValidHost). */
export const noValidHost = (reason: string): AppError => new AppError("bad_request", `No valid host was found. There are not enough hosts available: ${reason}.`);

/** Hints that would choose among hosts by facts that are not kept here: to ignore them would put servers where they must not be. */
const NOT_OFFERED = ["query", "build_near_host_ip", "cidr", "target_cell", "different_cell"];

export function refuseHintsNotOffered(hints: SchedulerHints): void {
  const name = NOT_OFFERED.find((name) => Object.hasOwn(hints, name));
  if (name !== undefined) throw new AppError("bad_request", `The scheduler hint "${name}" is not offered here: one host runs all servers.`);
}

/** 400 where the one host would run more of the group's servers than its policy allows. The soft policies and affinity hold on one host anyway. */
export function refuseCrowding({ name, policy, serversPerHostMax }: ServerGroup, serverCount: number): void {
  const max = serversPerHostMax ?? 1;
  if (policy === "anti-affinity" && serverCount > max) throw noValidHost(`server group ${name} has the policy anti-affinity with at most ${max} on a host, and one host runs all servers`);
}
