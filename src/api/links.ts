/** A link of a record, or of a page of a list, in Nova's and Cinder's shape. */
export interface Link {
  readonly rel: "self" | "bookmark" | "next";
  readonly href: string;
}

/** The `<collection>_links` of a page that has more behind it; undefined on the last. `url`: of the request for this page. */
export function nextLinks(url: string, baseUrl: string, lastId: string | undefined): Link[] | undefined {
  if (lastId === undefined) return undefined;
  const next = new URL(url, baseUrl);
  next.searchParams.set("marker", lastId);
  next.searchParams.delete("offset"); // The marker says more.
  return [{ rel: "next", href: baseUrl + next.pathname + next.search }];
}
