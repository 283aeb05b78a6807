import type { BaseUrls } from "#/api/base-urls.ts";
import type { ImageData } from "#/app/image-data.ts";
import type { ImageLocations } from "#/app/image-locations.ts";
import type { ImageMembers } from "#/app/image-members.ts";
import type { ImageStores } from "#/app/image-stores.ts";
import type { Images } from "#/app/images.ts";
import type { PageLimits } from "./list-query.ts";

/** What the routes of images work with. */
export interface ImagesApi {
  readonly images: Images;
  readonly members: ImageMembers;
  readonly data: ImageData;
  readonly stores: ImageStores;
  readonly locations: ImageLocations;
  readonly pages: PageLimits;
  readonly baseUrls: BaseUrls;
}
