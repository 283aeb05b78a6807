import { AppError } from "#/domain/errors.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";

/** Stands where there is no hypervisor: every call fails with `hypervisor_unavailable` and the reason. */
export function absentHypervisor(because: string): HypervisorDriver {
  const refuse = () => Promise.reject(new AppError("hypervisor_unavailable", `There is no hypervisor: ${because}.`));
  const own: Partial<HypervisorDriver> = { subscribe: () => () => {}, [Symbol.asyncDispose]: async () => {} };
  return new Proxy(own as HypervisorDriver, {
    get: (target, name) => (name in target ? Reflect.get(target, name) : name === "then" ? undefined : refuse),
  });
}
