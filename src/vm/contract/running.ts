import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { asAppError } from "#/domain/errors.ts";
import { SECOND_MS } from "#/lib/units.ts";
import { EventLog, rejectsWith, until, untilUp, type VmBench } from "#/vm/contract/bench.ts";
import type { GuestSpec } from "#/vm/guest.ts";

/** A guest from its first start on: power, memory, agent, console. One guest serves all, in this order: to boot takes seconds. */
export function contractOfRunning(bench: () => VmBench, guest: () => GuestSpec): void {
  it("start() boots a guest, and may be repeated; events tell", async () => {
    const { driver } = bench();
    const { id } = guest();
    using log = await EventLog.open(driver);
    for (let times = 0; times < 2; times++) await driver.start(id);
    const { state, reason, disks } = (await driver.stat(id)) ?? assert.fail("it is not known");
    assert.deepEqual([state, reason, disks.length], ["running", "booted", 1]);
    await log.seen({ kind: "state", id, state: "running", reason: "booted" });
    await untilUp(bench(), id);
    await log.seen({ kind: "agent", id, connected: true });
  });

  it("consoleTail() shows what the guest printed, no more than is asked for", async () => {
    const { driver } = bench();
    const { id } = guest();
    await until("the guest is ready", async () => (await driver.consoleTail(id, 100_000)).includes("GUEST-READY boot=1"));
    const tail = await driver.consoleTail(id, 10);
    assert.ok(tail.length > 0 && tail.length <= 10);
  });

  it("agent() has the guest do things, and tells what it refuses", async () => {
    const { driver } = bench();
    const { id } = guest();
    assert.deepEqual(await driver.agent(id, { execute: "guest-ping" }), {});
    assert.deepEqual(await driver.agent(id, { execute: "guest-get-host-name" }), { "host-name": "guest" });
    await rejectsWith("agent_unavailable", () => driver.agent(id, { execute: "guest-fly" }));
  });

  it("freeze() and thaw() may be repeated", async () => {
    const { driver } = bench();
    const { id } = guest();
    for (let times = 0; times < 2; times++) assert.ok((await driver.freeze(id)).fileSystems >= 1);
    for (let times = 0; times < 2; times++) await driver.thaw(id);
    assert.equal(await driver.agent(id, { execute: "guest-fsfreeze-status" }), "thawed");
  });

  it("pause() stops the guest and resume() lets it go on; both may be repeated", async () => {
    const { driver } = bench();
    const { id } = guest();
    using log = await EventLog.open(driver);
    for (let times = 0; times < 2; times++) await driver.pause(id);
    assert.deepEqual(await stateOf(bench(), id), ["paused", "user"]);
    await driver.start(id); // It has been started.
    await rejectsWith("conflict", () => driver.shutdown(id));
    await rejectsWith("conflict", () => driver.agent(id, { execute: "guest-ping" }));
    for (let times = 0; times < 2; times++) await driver.resume(id);
    assert.equal((await stateOf(bench(), id))[0], "running");
    await untilUp(bench(), id);
    assert.ok(log.events.every((event) => event.kind === "connected" || event.id === id));
  });

  it("a running guest cannot be forgotten, and goes on when it is defined anew", async () => {
    const { driver } = bench();
    const { id } = guest();
    await rejectsWith("conflict", () => driver.undefine(id));
    await driver.define({ ...guest(), title: "another" });
    assert.equal((await driver.stat(id))?.state, "running");
    await driver.define(guest());
  });

  it("an agent that hangs is agent_unavailable within the limit, and works again when it does", async () => {
    const { driver } = bench();
    const { id } = guest();
    const { secondMs } = bench();
    await bench().hangAgent(id, 4 * secondMs);
    const began = performance.now();
    await rejectsWith("agent_unavailable", () => driver.agent(id, { execute: "guest-ping" }, { timeoutMs: 1.5 * secondMs }));
    await rejectsWith("agent_unavailable", () => driver.freeze(id, { timeoutMs: secondMs }));
    assert.ok(performance.now() - began < 4 * SECOND_MS);
    assert.equal((await driver.stat(id))?.state, "running"); // All other calls are answered meanwhile.
    await untilUp(bench(), id);
    await driver.thaw(id); // Whoever froze thaws, also when it failed.
  });

  it("setUserPassword() is done by the agent", async () => {
    await bench().driver.setUserPassword(guest().id, "root", `p&<"'ä`);
  });

  it("a call can be cancelled while it runs", async () => {
    const { driver } = bench();
    const { id } = guest();
    await bench().hangAgent(id, 2 * bench().secondMs);
    await rejectsWith("cancelled", () => driver.agent(id, { execute: "guest-ping" }, { signal: AbortSignal.timeout(0.5 * bench().secondMs) }));
    await untilUp(bench(), id);
  });

  it("save() keeps the memory, and start() goes on from it; save() may be repeated", async () => {
    const { driver } = bench();
    const { id } = guest();
    const before = await bench().bootId(id);
    for (let times = 0; times < 2; times++) await driver.save(id);
    assert.deepEqual(await stateOf(bench(), id), ["suspended", "saved"]);
    await driver.start(id);
    assert.deepEqual(await stateOf(bench(), id), ["running", "restored"]);
    await untilUp(bench(), id);
    assert.equal(await bench().bootId(id), before);
  });

  it("save() that is cancelled is over when it ends: the guest runs on, or is saved", async () => {
    const { driver } = bench();
    const { id } = guest();
    const before = await bench().bootId(id);
    for (const share of [0.02, 0.1, 0.2]) {
      await driver.save(id, { signal: AbortSignal.timeout(Math.ceil(share * bench().secondMs)) }).catch((error) => assert.equal(asAppError(error)?.code, "cancelled"));
      const [state, reason] = await stateOf(bench(), id);
      assert.ok(state === "running" || state === "suspended", `${state}: ${reason}`);
      await delay(bench().secondMs);
      assert.deepEqual(await stateOf(bench(), id), [state, reason]);
      await driver.start(id);
    }
    await untilUp(bench(), id);
    assert.equal(await bench().bootId(id), before);
  });

  it("two drivers see the same guest", async () => {
    await using another = bench().openAnother();
    const { id } = guest();
    assert.deepEqual(await another.stat(id), await bench().driver.stat(id));
    await another.pause(id);
    assert.equal((await stateOf(bench(), id))[0], "paused");
    await another.resume(id);
  });
}

/** Power-offs, which end what the guest was. */
export function contractOfStopping(bench: () => VmBench, guest: () => GuestSpec): void {
  it("shutdown() has the guest shut down by itself", async () => {
    const { driver } = bench();
    const { id } = guest();
    using log = await EventLog.open(driver);
    await driver.shutdown(id);
    await until("it is off", async () => (await driver.stat(id))?.state === "shutoff");
    assert.deepEqual(await stateOf(bench(), id), ["shutoff", "shutdown"]);
    await log.seen({ kind: "state", id, state: "shutoff", reason: "shutdown" });
    await driver.shutdown(id);
  });

  it("a guest that is saved can be destroyed of its memory: the next start boots", async () => {
    const { driver } = bench();
    const { id } = guest();
    await driver.start(id);
    await driver.save(id);
    for (let times = 0; times < 2; times++) await driver.discardSaved(id);
    assert.equal((await driver.stat(id))?.state, "shutoff");
  });

  it("destroy() pulls the plug, and may be repeated", async () => {
    const { driver } = bench();
    const { id } = guest();
    await driver.start(id);
    assert.deepEqual(await stateOf(bench(), id), ["running", "booted"]);
    for (let times = 0; times < 2; times++) await driver.destroy(id);
    assert.deepEqual(await stateOf(bench(), id), ["shutoff", "destroyed"]);
  });
}

async function stateOf({ driver }: VmBench, id: string): Promise<[string | undefined, string | undefined]> {
  const stat = await driver.stat(id);
  return [stat?.state, stat?.reason];
}
