/** An object of the service, in any of its buckets. */
export interface ObjectName {
  readonly bucket: string;
  readonly key: string;
}
