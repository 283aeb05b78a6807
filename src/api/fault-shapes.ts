import type { FastifyRequest } from "fastify";
import type { Fault, FaultBody } from "./errors.ts";

/** Identity: `{"error":{"code":404,"title":"Not Found","message":"…"}}`, as in Keystone's API reference, "Errors". */
export function keystoneFault({ status, title, message }: Fault): FaultBody {
  return json({ error: { code: status, title, message } });
}

/** Block Storage and Compute: `{"itemNotFound":{"code":404,"message":"…"}}`; `Fault` in wsgi.py of both. */
export function cinderFault({ status, message }: Fault): FaultBody {
  const name = CINDER_FAULT_NAMES[status] ?? "computeFault";
  return json({ [name]: { code: status, message, ...(name === "overLimit" && { retryAfter: "0" }) } });
}

const CINDER_FAULT_NAMES: Readonly<Record<number, string>> = {
  400: "badRequest",
  401: "unauthorized",
  403: "forbidden",
  404: "itemNotFound",
  405: "badMethod",
  409: "conflictingRequest",
  413: "overLimit",
  415: "badMediaType",
  429: "overLimit",
  501: "notImplemented",
  503: "serviceUnavailable",
};

/** Mica's own API: the code is for programs, the message for people, and `fix` says what to do. */
export function micaFault({ code, message, fix }: Fault): FaultBody {
  return json({ error: { code, message, fix } });
}

/**
 * Image: HTML, JSON or plain text by the Accept header, as webob (which Glance stands on) chooses: HTML wins a tie, and clients
 * that accept anything get HTML. glanceclient relies on it: it reads HTML by taking out the tags, and fails on webob's JSON.
 * Other than webob, an empty header gets JSON: openstacksdk sends it with uploads and patches, and finds no reason in plain text.
 */
export function glanceFault(fault: Fault, request: FastifyRequest): FaultBody {
  const { accept } = request.headers;
  if (accept === "") return glanceJson(fault);
  const htmlQuality = acceptQuality(accept, "text/html");
  const jsonQuality = acceptQuality(accept, "application/json");
  if (htmlQuality > 0 && htmlQuality >= jsonQuality) return glanceHtml(fault);
  if (jsonQuality > 0) return glanceJson(fault);
  return { contentType: "text/plain; charset=UTF-8", body: `${fault.status} ${fault.title}\n\n${fault.message}\n` };
}

function glanceJson({ status, title, message }: Fault): FaultBody {
  return json({ message, code: `${status} ${title}`, title });
}

function glanceHtml({ status, title, message }: Fault): FaultBody {
  const body = `<html>
 <head>
  <title>${status} ${title}</title>
 </head>
 <body>
  <h1>${status} ${title}</h1>
  ${escapeText(message)}<br /><br />

 </body>
</html>`;
  return { contentType: "text/html; charset=UTF-8", body };
}

/** How much the Accept header wants the media type, 0 to 1; the most specific range that fits decides (RFC 9110 §12.5.1). */
function acceptQuality(accept: string | undefined, mediaType: string): number {
  if (accept === undefined) return 0;
  const [type] = mediaType.split("/");
  const ranges = accept.split(",").map(parseMediaRange);
  for (const wanted of [mediaType, `${type}/*`, "*/*"]) {
    const range = ranges.find(({ name }) => name === wanted);
    if (range) return range.quality;
  }
  return 0;
}

function parseMediaRange(text: string): { name: string; quality: number } {
  const [name = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const quality = Number(parameters.find((parameter) => parameter.startsWith("q="))?.slice(2) ?? 1);
  return { name, quality: Number.isFinite(quality) ? quality : 0 };
}

/** For the text of an element, where quotes are no markup: clients show what they find between the tags as it stands. */
function escapeText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function json(value: unknown): FaultBody {
  return { contentType: "application/json", body: JSON.stringify(value) };
}
