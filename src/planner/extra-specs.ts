import type { Value } from "#/lib/expression.ts";

/**
 * Why a pool with these capabilities does not satisfy the extra specs of a volume type; undefined where it does. As Cinder
 * matches them (cinder/scheduler/filters/capabilities_filter.py): keys with a scope other than `capabilities` are not for us.
 */
export function whyNotMatching(extraSpecs: Readonly<Record<string, string>>, capabilities: Readonly<Record<string, Value>>): string | undefined {
  for (const [key, requirement] of Object.entries(extraSpecs)) {
    const name = capabilityOf(key);
    if (name === undefined) continue;
    const value = Object.hasOwn(capabilities, name) ? capabilities[name] : undefined;
    if (value === undefined) return `it has no capability "${name}"`;
    if (!matches(value, requirement)) return `its ${name} is ${shown(value)}, and the type wants ${requirement}${hint(value, requirement)}`;
  }
  return undefined;
}

/** `capabilities:clone` and `clone` are about the capability `clone`; `provisioning:type` is about none. */
function capabilityOf(key: string): string | undefined {
  const [scope = "", ...rest] = key.split(":");
  if (rest.length === 0) return scope;
  return scope === "capabilities" ? rest.join(":") : undefined;
}

/** Whether a value satisfies a requirement: `<is> True`, `>= 10`, `s== nfs`, `<in> xfs`, `<or> nfs <or> ceph`, or the value itself (cinder/scheduler/filters/extra_specs_ops.py). */
export function matches(value: Value, requirement: string): boolean {
  const words = requirement.trim().split(/\s+/);
  const [operator = "", operand] = words;
  if (operator === "<or>") return words.some((word, index) => index % 2 === 1 && word === asText(value));
  const holds = OPERATORS.get(operator);
  if (!holds) return typeof value === "string" ? value === requirement : false;
  return operand !== undefined && holds(value, operand);
}

const OPERATORS: ReadonlyMap<string, (value: Value, operand: string) => boolean> = new Map([
  ["=", (value, operand) => numbers(value, operand, (a, b) => a >= b)],
  ["==", (value, operand) => numbers(value, operand, (a, b) => a === b)],
  ["!=", (value, operand) => numbers(value, operand, (a, b) => a !== b)],
  [">=", (value, operand) => numbers(value, operand, (a, b) => a >= b)],
  ["<=", (value, operand) => numbers(value, operand, (a, b) => a <= b)],
  ["<in>", (value, operand) => asText(value).includes(operand)],
  ["<is>", (value, operand) => isYes(value) === isYes(operand)],
  ["s==", (value, operand) => asText(value) === operand],
  ["s!=", (value, operand) => asText(value) !== operand],
  ["s<", (value, operand) => asText(value) < operand],
  ["s<=", (value, operand) => asText(value) <= operand],
  ["s>", (value, operand) => asText(value) > operand],
  ["s>=", (value, operand) => asText(value) >= operand],
]);

function numbers(value: Value, operand: string, holds: (a: number, b: number) => boolean): boolean {
  const [a, b] = [Number(value), Number(operand)];
  return !Number.isNaN(a) && !Number.isNaN(b) && holds(a, b);
}

/** As oslo_utils.strutils.bool_from_string reads it. */
function isYes(value: Value): boolean {
  return ["1", "t", "true", "on", "y", "yes"].includes(String(value).trim().toLowerCase());
}

/** As Python prints it. */
function asText(value: Value): string {
  if (typeof value !== "boolean") return String(value);
  return value ? "True" : "False";
}

function shown(value: Value): string {
  return typeof value === "string" ? `"${value}"` : asText(value);
}

/** As in Cinder, a bare word is compared as text; people write `True` all the same. */
function hint(value: Value, requirement: string): string {
  return typeof value !== "string" && asText(value) === requirement.trim() ? `: write "${typeof value === "boolean" ? "<is>" : "=="} ${requirement.trim()}"` : "";
}
