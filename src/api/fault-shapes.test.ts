import assert from "node:assert/strict";
import { it } from "node:test";
import type { FastifyRequest } from "fastify";
import type { Fault } from "./errors.ts";
import { cinderFault, glanceFault, keystoneFault, micaFault } from "./fault-shapes.ts";

const missing: Fault = { status: 404, code: "not_found", title: "Not Found", message: 'There is no "<b>".', fix: "Look again." };

/** What webob chooses of `text/html` and `application/json`; plain text where it has neither. An empty header is ours. */
for (const [accept, type] of [
  [undefined, "text/plain"],
  ["", "application/json"],
  ["*/*", "text/html"],
  ["application/json", "application/json"],
  ["text/html,application/json", "text/html"],
  ["text/html;q=0.5, application/json", "application/json"],
  ["application/*", "application/json"],
  ["text/html;q=0, */*", "application/json"],
  ["application/octet-stream", "text/plain"],
  ["Application/JSON; charset=utf-8", "application/json"],
] as const) {
  it(`glanceFault() answers ${type} to Accept: ${accept}`, () => {
    const { contentType } = glanceFault(missing, { headers: { accept } } as FastifyRequest);
    assert.equal(contentType.split(";")[0], type);
  });
}

it("glanceFault() keeps markup in messages from becoming markup", () => {
  const { body } = glanceFault(missing, { headers: { accept: "*/*" } } as FastifyRequest);
  assert.match(body, /<title>404 Not Found<\/title>.*There is no "&lt;b&gt;"\./s);
});

it("each service's fault has its own shape", () => {
  assert.deepEqual(JSON.parse(keystoneFault(missing).body), { error: { code: 404, title: "Not Found", message: 'There is no "<b>".' } });
  assert.deepEqual(JSON.parse(cinderFault(missing).body), { itemNotFound: { code: 404, message: 'There is no "<b>".' } });
  assert.deepEqual(JSON.parse(micaFault(missing).body), { error: { code: "not_found", message: 'There is no "<b>".', fix: "Look again." } });
  assert.deepEqual(JSON.parse(cinderFault({ ...missing, status: 413 }).body), { overLimit: { code: 413, message: 'There is no "<b>".', retryAfter: "0" } });
  assert.deepEqual(JSON.parse(cinderFault({ ...missing, status: 507 }).body), { computeFault: { code: 507, message: 'There is no "<b>".' } });
});
