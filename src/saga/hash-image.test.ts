import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { sagaContract } from "#/saga/engine/contract.ts";
import { hashImage } from "#/saga/hash-image.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const content = someContent();

sagaContract("hashImage", hashImage, async () => {
  const world = await SagaWorld.open();
  const imageId = await world.addImage(content);
  return {
    context: world.context({ imageId }),
    async assertDone() {
      const image = await world.image(imageId);
      assert.equal(image?.hash_value, createHash("sha512").update(content).digest("hex"));
      assert.equal(image?.checksum_md5, createHash("md5").update(content).digest("hex"));
      await world.assertAuditClean();
    },
    async assertClean() {
      assert.equal((await world.image(imageId))?.status, "active");
      await world.assertAuditClean();
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});
