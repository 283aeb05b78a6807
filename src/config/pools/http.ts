import Type from "typebox";

/** What only `http` pools have: places that others fill, and from which images are read. */
export const HTTP_SCHEMA = Type.Object({}, { additionalProperties: false });
