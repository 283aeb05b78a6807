/**
 * Expressions that operators write into the configuration: arithmetic, comparisons and choices over named values, as
 * Cinder's `filter_function` and `goodness_function` have them (cinder/scheduler/evaluator/evaluator.py). From the tightest to the
 * loosest: `abs(…) max(…) min(…)`, `^`, signs, `* /`, `+ -`, `not !`, `< <= > >= == != <>`, `? :`, `and &&`, `or ||`.
 */
export type Value = number | string | boolean;

/** Named values by their namespace: `stats.free_capacity_gb` is `values.stats.free_capacity_gb`. */
export type Values = Readonly<Record<string, Readonly<Record<string, Value | undefined>>>>;

export interface Expression {
  /** Every name in it, like "stats.free_capacity_gb", once. */
  readonly names: readonly string[];
  /** Throws `ExpressionError` where a value is missing or of the wrong kind. */
  evaluate(values: Values): Value;
}

/** What is wrong with an expression, in words. */
export class ExpressionError extends Error {
  override readonly name = "ExpressionError";
}

/** Longer ones are mistakes, and each nesting costs a stack frame. */
const LENGTH_MAX = 2000;

/** Reads an expression. Throws `ExpressionError` with the place of what cannot be read. */
export function parseExpression(text: string): Expression {
  if (text.length > LENGTH_MAX) throw new ExpressionError(`it has ${text.length} characters, more than ${LENGTH_MAX}`);
  const parser = new Parser(text);
  const root = parser.whole();
  return { names: [...parser.names], evaluate: (values) => root(values) };
}

type Node = (values: Values) => Value;

interface Token {
  readonly kind: "number" | "text" | "name" | "sign" | "end";
  readonly text: string;
  readonly at: number;
}

const TOKEN = /\s*(?:(?<number>\d+(?:\.\d+)?)|(?<text>'[^']*'|"[^"]*")|(?<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)|(?<sign><=|>=|==|!=|<>|&&|\|\||[-+*/^<>?:(),!])|(?<end>$))/y;

/** How tightly each infix operator binds; a higher number is tighter. */
const BINDING: ReadonlyMap<string, number> = new Map(
  [["or", "||"], ["and", "&&"], ["?"], ["<", "<=", ">", ">=", "==", "!=", "<>"], [], ["+", "-"], ["*", "/"], [], ["^"]].flatMap((signs, index) =>
    signs.map((sign) => [sign, index + 1] as const),
  ),
);
const NOT_BINDING = 5;
const SIGN_BINDING = 8;

/** Precedence climbing over the tokens; what it makes are closures. */
class Parser {
  readonly names = new Set<string>();
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(text: string) {
    this.#tokens = tokenise(text);
  }

  whole(): Node {
    const node = this.#expression(0);
    if (this.#token.kind !== "end") throw unexpected(this.#token, "an operator or the end");
    return node;
  }

  get #token(): Token {
    return this.#tokens[this.#next] as Token;
  }

  #expression(loosest: number): Node {
    let left = this.#prefix();
    for (let binding = this.#binding(); binding > loosest; binding = this.#binding()) {
      const { text } = this.#take();
      if (text === "?") left = this.#choice(left);
      else if (binding === 4) left = this.#comparisons(left, text);
      else left = operation(text, left, this.#expression(text === "^" ? binding - 1 : binding));
    }
    return left;
  }

  #binding(): number {
    const { kind, text } = this.#token;
    return kind === "sign" || kind === "name" ? (BINDING.get(text.toLowerCase()) ?? 0) : 0;
  }

  #choice(condition: Node): Node {
    const then = this.#expression(3);
    this.#expect(":");
    const otherwise = this.#expression(2);
    return (values) => (isTrue(condition(values)) ? then(values) : otherwise(values));
  }

  /** `1 < a <= 5` means what it says. */
  #comparisons(first: Node, operator: string): Node {
    const steps = [{ operator, right: this.#expression(4) }];
    while (this.#binding() === 4) steps.push({ operator: this.#take().text, right: this.#expression(4) });
    return (values) => {
      let left = first(values);
      return steps.every(({ operator, right }) => {
        const [a, b] = [left, right(values)];
        left = b;
        return compare(operator, a, b);
      });
    };
  }

  #prefix(): Node {
    const token = this.#take();
    const { kind, text } = token;
    if (kind === "number") return () => Number(text);
    if (kind === "text") return () => text.slice(1, -1);
    if (text === "(") return this.#inBrackets();
    if (text === "+" || text === "-") return signed(text, this.#expression(SIGN_BINDING));
    if (text === "!" || text.toLowerCase() === "not") return negated(this.#expression(NOT_BINDING));
    if (kind === "name") return this.#token.text === "(" ? this.#call(token) : this.#named(token);
    throw unexpected(token, "a number, a name or an opening bracket");
  }

  #inBrackets(): Node {
    const node = this.#expression(0);
    this.#expect(")");
    return node;
  }

  #call(token: Token): Node {
    const called = FUNCTIONS.get(token.text);
    if (!called) throw new ExpressionError(`there is no function "${token.text}" (at ${token.at + 1}): there are ${[...FUNCTIONS.keys()].join(", ")}`);
    this.#expect("(");
    const args = [this.#expression(0)];
    while (this.#token.text === ",") {
      this.#take();
      args.push(this.#expression(0));
    }
    this.#expect(")");
    return (values) => called(...args.map((arg) => toNumber(arg(values))));
  }

  #named({ text, at }: Token): Node {
    const [space = "", name] = text.split(".");
    if (name === undefined) throw new ExpressionError(`"${text}" (at ${at + 1}) has no dot: names are like stats.free_capacity_gb, and texts are in quotes`);
    this.names.add(text);
    return (values) => {
      const value = Object.hasOwn(values, space) && Object.hasOwn(values[space] ?? {}, name) ? values[space]?.[name] : undefined;
      if (value === undefined) throw new ExpressionError(`there is no ${text} here`);
      return plain(value);
    };
  }

  #take(): Token {
    const token = this.#token;
    if (token.kind !== "end") this.#next += 1;
    return token;
  }

  #expect(sign: string): void {
    const token = this.#take();
    if (token.text !== sign) throw unexpected(token, `"${sign}"`);
  }
}

function tokenise(text: string): Token[] {
  const tokens: Token[] = [];
  for (TOKEN.lastIndex = 0; ; ) {
    const start = TOKEN.lastIndex;
    const found = TOKEN.exec(text);
    if (!found?.groups) throw new ExpressionError(`"${text.slice(start).trim()[0]}" (at ${start + 1}) means nothing here`);
    const [kind, word] = Object.entries(found.groups).find(([, value]) => value !== undefined) as [Token["kind"], string];
    tokens.push({ kind, text: word, at: TOKEN.lastIndex - word.length });
    if (kind === "end") return tokens;
  }
}

function unexpected({ kind, text, at }: Token, wanted: string): ExpressionError {
  return new ExpressionError(kind === "end" ? `it ends where ${wanted} should follow` : `"${text}" (at ${at + 1}) stands where ${wanted} should`);
}

const FUNCTIONS: ReadonlyMap<string, (...values: number[]) => number> = new Map([
  ["abs", (value = 0) => Math.abs(value)],
  ["max", (...values) => Math.max(...values)],
  ["min", (...values) => Math.min(...values)],
]);

function operation(operator: string, left: Node, right: Node): Node {
  switch (operator.toLowerCase()) {
    case "or":
    case "||":
      return (values) => firstOf(left(values), (value) => isTrue(value), () => right(values));
    case "and":
    case "&&":
      return (values) => firstOf(left(values), (value) => !isTrue(value), () => right(values));
    default:
      return (values) => calculate(operator, toNumber(left(values)), toNumber(right(values)));
  }
}

function firstOf(value: Value, isEnough: (value: Value) => boolean, other: () => Value): Value {
  return isEnough(value) ? value : other();
}

function calculate(operator: string, left: number, right: number): number {
  switch (operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "/":
      if (right === 0) throw new ExpressionError("it divides by 0");
      return left / right;
    case "^":
      return left ** right;
    default:
      throw new Error(`Broken invariant: ${operator} is no operator`);
  }
}

function compare(operator: string, left: Value, right: Value): boolean {
  if (operator === "==") return left === right;
  if (operator === "!=" || operator === "<>") return left !== right;
  if (typeof left !== typeof right) throw new ExpressionError(`${JSON.stringify(left)} cannot be compared with ${JSON.stringify(right)}`);
  if (operator === "<") return left < right;
  if (operator === "<=") return left <= right;
  return operator === ">" ? left > right : left >= right;
}

function signed(sign: string, node: Node): Node {
  return (values) => (sign === "-" ? -toNumber(node(values)) : toNumber(node(values)));
}

function negated(node: Node): Node {
  return (values) => !isTrue(node(values));
}

/** A text that is a number counts as one, and yes and no as 1 and 0, as in Cinder. */
function plain(value: Value): Value {
  if (typeof value === "boolean") return Number(value);
  if (typeof value === "string" && /^\s*[-+]?\d+(\.\d+)?\s*$/.test(value)) return Number(value);
  return value;
}

function toNumber(value: Value): number {
  if (typeof value === "string") throw new ExpressionError(`${JSON.stringify(value)} is no number`);
  return Number(value);
}

/** Whether the value counts as yes. */
export function isTrue(value: Value): boolean {
  return value !== 0 && value !== "" && value !== false;
}
