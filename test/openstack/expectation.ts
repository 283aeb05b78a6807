import { filled, type Variables } from "../support/variables.ts";

/** What an answer must have. Objects and lists may have more than is asked for; `exactly` and `none` say where they may not. */
export type Expectation =
  | string
  | number
  | boolean
  | null
  | RegExp
  | Test
  | readonly Expectation[]
  | { readonly [field: string]: Expectation };

/** Says what is wrong with the value, or undefined. */
export type Test = (value: unknown, variables: Variables) => string | undefined;

/** The list has these, in this order, and no others. */
export function exactly(...items: readonly Expectation[]): Test {
  return (value, variables) => {
    if (!Array.isArray(value)) return `is no list: ${JSON.stringify(value)}`;
    if (value.length !== items.length) return `has ${value.length} items, not ${items.length}: ${JSON.stringify(value)}`;
    return first(items, (item, index) => difference(value[index], item, variables, `[${index}]`));
  };
}

/** No item of the list is like this. */
export function none(item: Expectation): Test {
  return (value, variables) => {
    if (!Array.isArray(value)) return `is no list: ${JSON.stringify(value)}`;
    const found = value.find((candidate) => difference(candidate, item, variables) === undefined);
    return found === undefined ? undefined : `has ${JSON.stringify(found)}, and should not`;
  };
}

/** The value is there, whatever it is. */
export const anything: Test = (value) => (value === undefined ? "is missing" : undefined);

/** The object does not have it. */
export const missing: Test = (value) => (value === undefined ? undefined : `is ${JSON.stringify(value)}, and should not be there`);

/** The list has so many items. */
export function count(wanted: number): Test {
  return (value) => {
    if (!Array.isArray(value)) return `is no list: ${JSON.stringify(value)}`;
    return value.length === wanted ? undefined : `has ${value.length} items, not ${wanted}: ${JSON.stringify(value)}`;
  };
}

/** All of them hold. */
export function all(...expectations: readonly Expectation[]): Test {
  return (value, variables) => first(expectations, (expectation) => difference(value, expectation, variables));
}

/** How the value differs from the expectation, with the place in it; undefined where it doesn't. */
export function difference(value: unknown, expected: Expectation, variables: Variables, place = ""): string | undefined {
  if (typeof expected === "function") return at(place, expected(value, variables));
  if (expected instanceof RegExp)
    return expected.test(String(value)) ? undefined : at(place, `is ${JSON.stringify(value)}, not like ${expected}`);
  if (Array.isArray(expected)) return differenceOfItems(value, expected, variables, place);
  if (typeof expected === "object" && expected !== null) {
    const fields = Object.entries(expected);
    return first(fields, ([name, field]) =>
      difference((value as Record<string, unknown> | null)?.[name], field, variables, `${place}.${name}`),
    );
  }
  const wanted = typeof expected === "string" ? filled(expected, variables) : expected;
  return value === wanted ? undefined : at(place, `is ${JSON.stringify(value)}, not ${JSON.stringify(wanted)}`);
}

/** Each expected item must be somewhere in the list. */
function differenceOfItems(value: unknown, items: readonly Expectation[], variables: Variables, place: string): string | undefined {
  if (!Array.isArray(value)) return at(place, `is no list: ${JSON.stringify(value)}`);
  return first(items, (item) => {
    const nearest = value.map((candidate) => difference(candidate, item, variables));
    return nearest.includes(undefined)
      ? undefined
      : at(place, `has nothing like ${describe(item, variables)} (${nearest.at(0) ?? "it is empty"})`);
  });
}

function describe(item: Expectation, variables: Variables): string {
  return filled(
    JSON.stringify(item, (_, part) => (part instanceof RegExp || typeof part === "function" ? String(part) : part)),
    variables,
  );
}

function at(place: string, problem: string | undefined): string | undefined {
  return problem === undefined ? undefined : `${place} ${problem}`.trim();
}

function first<T>(items: readonly T[], look: (item: T, index: number) => string | undefined): string | undefined {
  for (const [index, item] of items.entries()) {
    const problem = look(item, index);
    if (problem !== undefined) return problem;
  }
  return undefined;
}
