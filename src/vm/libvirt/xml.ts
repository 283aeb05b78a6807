/** As much of XML 1.0 as libvirt writes and reads: elements with attributes, and text. No DTD, no processing instructions. */

export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
  /** What stands between the children, joined. */
  readonly text: string;
  /** The element as it stood in the source. */
  readonly source: string;
}

type Attributes = Readonly<Record<string, string | number | undefined>>;

/** An element as text. Attributes that are undefined are left out; children are elements that were made by this, and are put in as they are. */
export function element(name: string, attributes: Attributes = {}, children: readonly (string | undefined)[] = []): string {
  const given = Object.entries(attributes).filter(([, value]) => value !== undefined);
  const start = `<${name}${given.map(([key, value]) => ` ${key}='${escapeXml(String(value))}'`).join("")}`;
  const inner = children.filter((child) => child !== undefined).join("");
  return inner === "" ? `${start}/>` : `${start}>${inner}</${name}>`;
}

/** An element with text in it. */
export function textElement(name: string, text: string | number, attributes: Attributes = {}): string {
  return element(name, attributes, [escapeXml(String(text))]);
}

/** Text that is text wherever it stands. What XML 1.0 cannot say at all becomes U+FFFD. */
function escapeXml(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this looks for.
  const sayable = text.toWellFormed().replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, "\ufffd");
  return sayable.replace(/[&<>"'\t\n\r]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Reads a document. Throws where it is none: libvirt's own are well formed. */
export function parseXml(source: string): XmlElement {
  const open: Unfinished[] = [{ name: "", attributes: {}, children: [], text: "", start: 0 }];
  for (const match of source.matchAll(TOKEN)) {
    const [all, closing, name, attributes, selfClosing, text] = match;
    const top = open.at(-1) as Unfinished;
    if (text !== undefined) top.text += unescapeXml(text);
    else if (closing) finish(open, closing, source, match.index + all.length);
    else if (name) {
      open.push({ name, attributes: parseAttributes(attributes ?? ""), children: [], text: "", start: match.index });
      if (selfClosing) finish(open, name, source, match.index + all.length);
    }
  }
  const [document] = open;
  const root = document?.children[0];
  if (open.length !== 1 || !root) throw new Error("this is no XML document");
  return root;
}

/** The first child of that name along a path: `child(domain, "devices", "serial", "source")`. */
export function child(parent: XmlElement | undefined, ...path: readonly string[]): XmlElement | undefined {
  return path.reduce((at: XmlElement | undefined, name) => at?.children.find((one) => one.name === name), parent);
}

interface Unfinished {
  readonly name: string;
  readonly attributes: Record<string, string>;
  readonly children: XmlElement[];
  text: string;
  readonly start: number;
}

/** A comment or declaration, which is passed over; an end tag; a start tag; text. */
const TOKEN = /<!--[\s\S]*?-->|<\?[\s\S]*?\?>|<\/([^\s>]+)\s*>|<([^\s/>!?]+)((?:\s+[^\s=/>]+\s*=\s*(?:'[^']*'|"[^"]*"))*)\s*(\/)?>|([^<]+)/g;
const ATTRIBUTE = /([^\s=]+)\s*=\s*(?:'([^']*)'|"([^"]*)")/g;

function parseAttributes(text: string): Record<string, string> {
  return Object.fromEntries([...text.matchAll(ATTRIBUTE)].map(([, name = "", single, double]) => [name, unescapeXml(single ?? double ?? "")]));
}

function finish(open: Unfinished[], name: string, source: string, end: number): void {
  const done = open.pop();
  const parent = open.at(-1);
  if (!done || !parent || done.name !== name) throw new Error(`an end tag </${name}> without its start`);
  const { start, ...element } = done;
  parent.children.push({ ...element, source: source.slice(start, end) });
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replace(/&(#x[0-9a-f]+|#\d+|\w+);/gi, (all, entity: string) => {
    if (entity.startsWith("#x")) return String.fromCodePoint(Number.parseInt(entity.slice(2), 16));
    if (entity.startsWith("#")) return String.fromCodePoint(Number(entity.slice(1)));
    return ENTITIES[entity] ?? all;
  });
}
