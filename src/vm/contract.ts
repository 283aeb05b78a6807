import { after, before, describe } from "node:test";
import { contractOfBackups, contractOfEndingBackups } from "#/vm/contract/backups.ts";
import { newSpec, type OpenBench, type VmBench } from "#/vm/contract/bench.ts";
import { contractOfDefining } from "#/vm/contract/defining.ts";
import { contractOfDisks } from "#/vm/contract/disks.ts";
import { contractOfCrashing, contractOfFailing } from "#/vm/contract/failing.ts";
import { contractOfRunning, contractOfStopping } from "#/vm/contract/running.ts";
import type { GuestSpec } from "#/vm/guest.ts";

/**
 * The tests that every hypervisor driver passes: each sentence of `driver.ts`. They share a host and a guest, since a real one takes seconds
 * to boot; so they run in this order.
 */
export function hypervisorContract(name: string, openBench: OpenBench): void {
  describe(`${name} keeps the hypervisor driver contract`, () => {
    let bench: VmBench;
    let guest: GuestSpec;
    before(async () => {
      bench = await openBench();
      guest = await newSpec(bench);
      await bench.driver.define(guest);
    });
    after(() => bench?.[Symbol.asyncDispose]());

    contractOfDefining(() => bench);
    contractOfRunning(() => bench, () => guest);
    contractOfDisks(() => bench, () => guest);
    contractOfBackups(() => bench, () => guest);
    contractOfFailing(() => bench, () => guest);
    contractOfStopping(() => bench, () => guest);
    contractOfEndingBackups(() => bench, () => guest);
    contractOfCrashing(() => bench, () => guest);
  });
}
