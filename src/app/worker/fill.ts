import Type from "typebox";
import type { Asked } from "#/app/worker/asked.ts";
import { checked, Target } from "#/app/worker/calls.ts";
import { AppError } from "#/domain/errors.ts";

const Parameters = Type.Object({ target: Target });

/** Shows a new disk under a name that may be written to, until the asker says that it is full, or that filling it has failed. */
export async function fill({ pool, parameters, conversation, cancelled, options, exports, nbd }: Asked): Promise<void> {
  const { target } = checked(Parameters, parameters);
  const heard = outcome({ conversation, cancelled });
  await pool.fill(
    target,
    async (node, bytesPerSecondMax) => {
      const shown = exports.showFilling(pool, target, node);
      const isFilled = await conversation
        .say({ fill: shown.name, ...(bytesPerSecondMax && { bytesPerSecondMax }) })
        .then(() => heard)
        .finally(() => shown[Symbol.dispose]());
      await nbd.close(shown.disk); // That its writer has left may be heard later than that the disk is full; what it was told is written may not be stored yet.
      if (!isFilled) throw new AppError("cancelled", "whoever filled it gave it up");
    },
    options,
  );
}

/** Whether it was filled. A fill that is cancelled ends too, by the one who does it. */
async function outcome({ conversation, cancelled }: Pick<Asked, "conversation" | "cancelled">): Promise<boolean> {
  for (;;) {
    const part = await conversation.next().catch(() => undefined);
    if (part?.kind === "message" && "filled" in part.value) return true;
    if (part?.kind === "message" && "cancel" in part.value) cancelled.abort();
    else {
      cancelled.abort();
      return false;
    }
  }
}
