import { describe } from "node:test";
import { contractOfAddressing } from "#/storage/contract/addressing.ts";
import type { OpenDriver } from "#/storage/contract/bench.ts";
import { contractOfChanges } from "#/storage/contract/changes.ts";
import { contractOfCloning } from "#/storage/contract/cloning.ts";
import { contractOfDedup } from "#/storage/contract/dedup.ts";
import { contractOfMaking } from "#/storage/contract/making.ts";
import { contractOfReading } from "#/storage/contract/reading.ts";
import { contractOfSnapshots } from "#/storage/contract/snapshots.ts";

const PARTS = {
  content: [contractOfMaking, contractOfReading, contractOfAddressing],
  sharing: [contractOfCloning, contractOfSnapshots, contractOfChanges, contractOfDedup],
} as const;

/** Where storage is slow, the halves run beside each other. */
export type ContractHalf = keyof typeof PARTS;

/**
 * The tests that every storage driver passes: each sentence of `driver.ts`. A driver's own test adds only what is its own.
 * Where drivers differ, a test asks `driver.can`, and checks that what is not offered is refused.
 */
export function storageDriverContract(name: string, openDriver: OpenDriver, halves: readonly ContractHalf[] = ["content", "sharing"]): void {
  describe(`${name} keeps the storage driver contract`, () => {
    for (const half of halves) for (const part of PARTS[half]) part(openDriver);
  });
}
