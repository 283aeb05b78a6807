import type { Identity } from "#/app/identity/identity.ts";
import type { BaseUrls } from "#/api/base-urls.ts";

/** What the routes of Identity work with. */
export interface IdentityApi {
  readonly identity: Identity;
  readonly baseUrls: BaseUrls;
}
