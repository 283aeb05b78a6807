import type { Server } from "#/api/server.ts";
import type { ImagesApi } from "./images-api.ts";
import { AddMember, ImageParams, MemberParams, SetMemberStatus } from "./schema.ts";
import { memberView } from "./view.ts";

/** The projects that an image is shared with. */
export function addMemberRoutes(app: Server, { members }: ImagesApi): void {
  app.get("/v2/images/:imageId/members", { schema: { params: ImageParams } }, async ({ caller, params }) => {
    const found = await members.list(caller, params.imageId);
    return { members: found.map(memberView), schema: "/v2/schemas/members" };
  });

  app.post("/v2/images/:imageId/members", { schema: { params: ImageParams, body: AddMember } }, async ({ caller, params, body }) =>
    memberView(await members.add(caller, params.imageId, body.member)),
  );

  app.get("/v2/images/:imageId/members/:memberId", { schema: { params: MemberParams } }, async ({ caller, params }) =>
    memberView(await members.show(caller, params.imageId, params.memberId)),
  );

  app.put(
    "/v2/images/:imageId/members/:memberId",
    { schema: { params: MemberParams, body: SetMemberStatus } },
    async ({ caller, params, body }) => memberView(await members.setStatus(caller, params.imageId, params.memberId, body.status)),
  );

  app.delete("/v2/images/:imageId/members/:memberId", { schema: { params: MemberParams } }, async ({ caller, params }, reply) => {
    await members.remove(caller, params.imageId, params.memberId);
    return reply.code(204).send();
  });
}
