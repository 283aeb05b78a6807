import { after } from "node:test";
import { MiB } from "#/lib/units.ts";
import { killFlows } from "../support/kill-flows.ts";
import { startCeph } from "./support/ceph.ts";
import { freshPools } from "./support/ceph-place.ts";

// Its own: on a cluster that earlier tests have used, locks of killed clients took minutes to go.
const ceph = await startCeph();
after(() => ceph[Symbol.asyncDispose]());

killFlows("Ceph", { start: () => freshPools(ceph, { ownUsers: false }), momentsMs: [200, 900], dataBytes: 48 * MiB, atOnce: true });
