import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { child, element, parseXml, textElement } from "#/vm/libvirt/xml.ts";

/** All that means something in XML, or nothing at all. */
const CHARACTERS = [..."<>&'\"/]!-?=;# a\t\n\r\u0000\u001f\u007f\uffff".split(""), "é", "服", "🚀", "\ud800", "\udc00", "&amp;", "]]>"];

describe("XML", () => {
  it("brings any text and attribute back as it was, but for what XML cannot say", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...CHARACTERS) }), (text) => {
        const read = parseXml(element("a", { key: text }, [textElement("b", text)]));
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is left out.
        const sayable = text.toWellFormed().replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, "\ufffd");
        assert.deepEqual([read.attributes["key"], child(read, "b")?.text, read.children.length], [sayable, sayable, 1]);
      }),
    );
  });

  it("leaves out what is undefined, and closes what is empty", () => {
    assert.equal(element("a", { b: 1, c: undefined }, [undefined, element("d")]), "<a b='1'><d/></a>");
  });

  it("reads what libvirt writes: declarations, comments, both quotes, entities, space", () => {
    const root = parseXml(`<?xml version="1.0"?>\n<!-- made by <virsh> -->\n<domain type='qemu' id="1">\n  <name>a &amp; b &#x41;&#66;&quot;</name>\n  <os ><boot  dev = 'hd' /></os>\n</domain>\n`);
    assert.deepEqual(root.attributes, { type: "qemu", id: "1" });
    assert.equal(child(root, "name")?.text, 'a & b AB"');
    assert.deepEqual(child(root, "os", "boot")?.attributes, { dev: "hd" });
    assert.equal(child(root, "os")?.source, "<os ><boot  dev = 'hd' /></os>");
    assert.equal(child(root, "os", "bios", "x"), undefined);
  });

  it("refuses what is no document", () => {
    for (const text of ["", "text", "<a>", "<a></b>", "</a>", "<a><b></a></b>"]) assert.throws(() => parseXml(text), /XML document|end tag/, text);
  });
});
