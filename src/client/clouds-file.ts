import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { type Document, parseDocument } from "yaml";

/** One entry of clouds.yaml, for the user `admin` or any other. */
export interface CloudEntry {
  /** "mica", where nobody chose another. */
  readonly name: string;
  /** As in "http://127.0.0.1:6422/identity/v3". */
  readonly authUrl: string;
  readonly username: string;
  /** The one that stands in the file is kept where undefined. */
  readonly password?: string | undefined;
  readonly projectName: string;
  readonly region: string;
}

/** Writes the entry into the file; what else stands there, comments too, stays. Only its owner may read it: it holds a password. */
export async function writeCloudsFile(path: string, entry: CloudEntry): Promise<void> {
  const document = await openClouds(path);
  const password = entry.password ?? document.getIn(["clouds", entry.name, "auth", "password"]);
  await putCloud(path, document, entry.name, cloudContent(entry, password));
}

/** Copies one entry from a clouds.yaml into another. */
export async function copyCloud(from: string, to: string, name: string): Promise<void> {
  const content: unknown = parseDocument(await readFile(from, "utf8")).getIn(["clouds", name]);
  await putCloud(to, await openClouds(to), name, content);
}

async function openClouds(path: string): Promise<Document> {
  const document: Document = parseDocument(await readIfThere(path));
  if (document.errors[0]) throw document.errors[0];
  return document;
}

async function putCloud(path: string, document: Document, name: string, content: unknown): Promise<void> {
  document.setIn(["clouds", name], document.createNode(content));
  await writeWhole(path, document.toString());
}

function cloudContent({ authUrl, username, projectName, region }: CloudEntry, password: unknown): object {
  return {
    auth: {
      auth_url: authUrl,
      username,
      password,
      project_name: projectName,
      user_domain_id: "default",
      project_domain_id: "default",
    },
    region_name: region,
    interface: "public",
    identity_api_version: 3,
    image_api_version: 2,
    volume_api_version: 3,
    // The command asks with 2.1 otherwise, which has no `--network none`; 2.87 is in every client since 2020.
    compute_api_version: "2.87",
  };
}

/** A reader sees the old file or the new one, never half of it. */
async function writeWhole(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const beside = `${path}.new`;
  await writeFile(beside, text, { mode: 0o600 });
  await chmod(beside, 0o600);
  await rename(beside, path);
}

async function readIfThere(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
}
