import { operationId } from "#/domain/ids.ts";
import type { SagaContext } from "#/saga/context.ts";

/** Cancels what else is under way on the subject, and waits until it has ended: a delete comes after everything. */
export async function endOthers({ db, runner, operationId: mine }: SagaContext<object>, subjectId: string): Promise<void> {
  const others = await db
    .selectFrom("operation")
    .select("id")
    .where("subject_id", "=", subjectId)
    .where("ended_at", "is", null)
    .where("id", "!=", mine)
    .execute();
  for (const other of others) await runner.cancel(operationId(other.id));
  await Promise.all(others.map((other) => runner.run(operationId(other.id))));
}
