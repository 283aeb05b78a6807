import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { SECOND_MS } from "#/lib/units.ts";
import { EventLog, rejectsWith, until, untilUp, type VmBench } from "#/vm/contract/bench.ts";
import type { GuestSpec } from "#/vm/guest.ts";

/** The hypervisor's daemon dies. */
export function contractOfFailing(bench: () => VmBench, guest: () => GuestSpec): void {
  it("while the daemon is dead calls fail at once, also those under way; then all goes on by itself, and the guest never stopped", async () => {
    const { driver } = bench();
    const { id } = guest();
    using log = await EventLog.open(driver);
    const before = await bench().bootId(id);
    await bench().hangAgent(id, 3 * bench().secondMs);
    const underWay = rejectsWith("hypervisor_unavailable", () => driver.agent(id, { execute: "guest-ping" }, { timeoutMs: 20 * SECOND_MS }));
    await delay(0.3 * bench().secondMs);
    const began = performance.now();
    await bench().killDaemon();
    await underWay;
    await rejectsWith("hypervisor_unavailable", () => driver.stat(id));
    await rejectsWith("hypervisor_unavailable", () => driver.define(guest()));
    assert.ok(performance.now() - began < 2 * SECOND_MS);

    log.events.length = 0;
    await bench().startDaemon();
    assert.equal((await driver.stat(id))?.state, "running");
    assert.ok((await driver.list()).some((found) => found.id === id && found.state === "running"));
    await log.seen({ kind: "connected" });
    await untilUp(bench(), id);
    assert.equal(await bench().bootId(id), before);
    await driver.pause(id);
    await log.seen({ kind: "state", id, state: "paused" });
    await driver.resume(id);
  });
}

/** The last of a guest: it boots once more. */
export function contractOfCrashing(bench: () => VmBench, guest: () => GuestSpec): void {
  it("a guest whose process is killed has crashed; events tell, and it can be started again", async () => {
    const { driver } = bench();
    const { id } = guest();
    await driver.start(id);
    using log = await EventLog.open(driver);
    await bench().killGuest(id);
    await until("it has crashed", async () => (await driver.stat(id))?.state === "crashed", 10 * SECOND_MS);
    await log.seen({ kind: "state", id, state: "crashed" });
    await driver.destroy(id);
    await driver.start(id);
    assert.equal((await driver.stat(id))?.state, "running");
    await untilUp(bench(), id);
  });

  it("reset() restarts the guest at once, with all that was in its memory lost", async () => {
    const { driver } = bench();
    const { id } = guest();
    using log = await EventLog.open(driver);
    await driver.pause(id);
    await driver.reset(id);
    await log.seen({ kind: "agent", id, connected: false });
    assert.equal((await driver.stat(id))?.state, "running");
    await driver.destroy(id);
    await driver.undefine(id);
    assert.equal(await driver.stat(id), undefined);
  });
}
