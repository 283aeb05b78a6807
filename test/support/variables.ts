/** What earlier answers gave, by name: `{name}` in a text stands for it. */
export type Variables = ReadonlyMap<string, string>;

/** The text with the variables in it. */
export function filled(text: string, variables: Variables): string {
  return text.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = variables.get(name);
    if (value === undefined) throw new Error(`{${name}} is not known: what gives it has failed`);
    return value;
  });
}
