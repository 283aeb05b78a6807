declare const kind: unique symbol;
type Id<Kind extends string> = string & { readonly [kind]: Kind };

export type ImageId = Id<"image">;
export type DiskId = Id<"disk">;
export type OperationId = Id<"operation">;
export type ProjectId = Id<"project">;
export type UserId = Id<"user">;

/** A pool is named by the operator in the configuration; its name is its id. */
export type PoolName = Id<"pool">;

/**
 * The one place where a bare string becomes an id: `imageId(text)`. The API calls these after its schema has
 * checked the text; the database layer, when it reads a row.
 */
export const imageId = (text: string): ImageId => text as ImageId;
export const diskId = (text: string): DiskId => text as DiskId;
export const operationId = (text: string): OperationId => text as OperationId;
export const projectId = (text: string): ProjectId => text as ProjectId;
export const userId = (text: string): UserId => text as UserId;
export const poolName = (text: string): PoolName => text as PoolName;
