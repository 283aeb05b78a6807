import { after } from "node:test";
import { MiB } from "#/lib/units.ts";
import { killFlows } from "../support/kill-flows.ts";
import { sharedCeph } from "./support/ceph.ts";
import { freshPools } from "./support/ceph-place.ts";

const ceph = await sharedCeph();
after(() => ceph[Symbol.asyncDispose]());

killFlows("Ceph", { start: () => freshPools(ceph, { ownUsers: false }), momentsMs: [200, 900], dataBytes: 48 * MiB });
