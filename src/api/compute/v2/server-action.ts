import type { FastifyRequest } from "fastify";
import type { Static, TSchema } from "typebox";
import { parserOf } from "#/api/parse.ts";
import type { ComputeApi } from "./compute-api.ts";

/** What an action works with, beside its argument. */
export interface Call {
  readonly api: ComputeApi;
  readonly request: FastifyRequest;
  readonly serverId: string;
}

export interface Answer {
  readonly status: 200 | 202 | 204;
  readonly body?: object;
  readonly location?: string;
}

export type Action = (call: Call, argument: unknown) => Promise<Answer>;

/** An action whose argument is checked by the schema. */
export function action<Schema extends TSchema>(schema: Schema, run: (call: Call, argument: Static<Schema>) => Promise<Answer>): Action {
  const parse = parserOf(schema);
  return (call, argument) => run(call, parse(argument));
}
